"""Ctrl-C in the middle of many images: whole rows, exit code 130."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_tl.device.bundle import read_bundle

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_the_rows_until_then_are_kept(bundle_root: Path, tmp_path: Path) -> None:
    images = read_bundle(bundle_root).golden_images()
    listed, out = tmp_path / "list.txt", tmp_path / "out" / "rows.csv"
    listed.write_text("\n".join(str(images[i % len(images)]) for i in range(300_000)))
    words = ["predict", bundle_root, "--list", listed, "--out", out, "--artifact", "onnx-fp32"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_tl", *map(str, words)],
        stderr=subprocess.PIPE, text=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any(each.stat().st_size for each in tmp_path.glob("out/.rows.csv.*")):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted after" in said
    assert "Traceback" not in said
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert 0 < len(rows) < 300_000
    assert [row["image"] for row in rows[:3]] == [str(path) for path in images[:3]]
    assert all(float(row["probability_3"]) >= 0 for row in rows)
    assert [each.name for each in out.parent.iterdir()] == ["rows.csv"]
