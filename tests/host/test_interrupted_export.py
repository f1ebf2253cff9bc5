"""Real signals at real moments of an export: no bundle, or the old one whole; the next export cleans up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_tl.target.bundle import read_bundle
from edge_tl.target.errors import BundleError

SHORTCUT = Path(__file__).parents[1] / "shortcut.py"
REPOSITORY = Path(__file__).parents[2]


def export(bundle: Path, run: Path, out: Path, strike: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | ({"STRIKE": strike} if strike else {})
    command = [sys.executable, str(SHORTCUT), str(bundle), "export", str(run), "--int8", "--out", str(out), "--json"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "whole"),
    [("export", True), ("evaluation", True), ("gates", True), ("publish-0", False), ("publish-5", False),
     ("publish-10", False)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT", "SIGTERM"])
def test_a_signal_leaves_no_bundle_or_the_old_one(
    moment: str, whole: bool, name: str, bundle: Path, run: Path, tmp_path: Path
):
    if name == "SIGTERM" and moment not in ("evaluation", "publish-5"):
        pytest.skip("SIGTERM takes SIGINT's way; two moments are enough")
    out = tmp_path / "out"
    shutil.copytree(bundle, out)
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    done = export(bundle, run, out, f"{moment}:{name}")
    assert done.returncode == (-9 if name == "SIGKILL" else 130), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if whole:
        read_bundle(out)
        assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before
    else:
        with pytest.raises(BundleError, match="not a bundle"):
            read_bundle(out)
    left = [p for p in out.iterdir() if p.name.startswith(".partial-")]
    assert bool(left) == (name == "SIGKILL")  # whoever can clean up does
    if moment in ("evaluation", "publish-5"):
        again = export(bundle, run, out)
        assert again.returncode in (0, 1), again.stderr
        read_bundle(out)
        assert not [p for p in out.iterdir() if p.name.startswith(".")]
