"""`export --input` through the command line: what it writes, and every verb that reads it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from device.test_bundle_lies import sealed

from edge_tl.device.bundle import file_record, read_bundle

pytestmark = pytest.mark.slow
RunCli = Callable[..., Any]
IDS = ["onnx-fp32-image", "openvino-fp32-image"]


@pytest.fixture(scope="module")
def both(run: Path, shell: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("raw") / "both"
    done = shell("export", run, "--input", "both", "--out", out, "--json")
    assert done.code in (0, 1), done.err
    return out


def test_both_kinds_are_there_and_one_on_tensors_is_recommended(both: Path) -> None:
    record = read_bundle(both).record
    assert {each.id: each.input for each in record.artifacts} == {
        "onnx-fp32": "tensor", "openvino-fp32": "tensor", "onnx-fp32-image": "image", "openvino-fp32-image": "image"
    }  # fmt: skip
    assert record.recommended in ("onnx-fp32", "openvino-fp32")
    for name in IDS:
        own = record.artifact(name).image_input
        assert own is not None
        assert (own.flips, own.n, own.size) == (0, record.reference.n, (8, 8))
        assert own.levels_max <= (0 if name.startswith("onnx") else 1)
        assert own.probability_diff_max < 0.01
        assert (own.not_judged is None) == (own.cost_ms is not None)
        assert record.artifact(name).accuracy == record.artifact(name.removesuffix("-image")).accuracy
    assert "takes raw pixels" in (both / "README.txt").read_text("utf-8")


def test_every_verb_takes_them(run_cli: RunCli, both: Path, images: Path) -> None:
    checked = run_cli("verify", both, "--json")
    assert (checked.code, checked.json["passed"]) == (0, True)
    assert {gate["artifact"] for gate in checked.json["gates"]} >= set(IDS)
    names = [word for name in IDS for word in ("--artifact", name)]
    timed = run_cli("bench", both, *names, "--quick", "--rounds", 1, "--json")
    assert timed.code == 0, timed.err
    assert {row["id"] for row in timed.json["artifacts"]} >= set(IDS)
    assert all(row["latency_ms"]["p50"] > 0 for row in timed.json["artifacts"])
    answers = {}
    for name in (*IDS, "onnx-fp32", "openvino-fp32"):
        done = run_cli("predict", both, images, "--artifact", name, "--json")
        assert len(done.json["results"]) == 120, done.err
        answers[name] = [each["top"][0]["label"] for each in done.json["results"]]
    assert all(answers[name] == answers[name.removesuffix("-image")] for name in IDS)
    page = run_cli("report", both, "--out", "page")
    assert page.code == 0, page.err
    assert "openvino-fp32-image" in Path("page/report.html").read_text("utf-8")


def test_one_alone_is_kept_and_proven(run_cli: RunCli, both: Path) -> None:
    assert run_cli("slim", both, "--keep", "openvino-fp32-image", "--out", "small").code == 0
    assert run_cli("verify", "small").code == 0
    assert [path.name for path in sorted(Path("small").glob("model*"))] == [
        "model.fp32-image.bin",
        "model.fp32-image.xml",
    ]


def test_a_record_that_lies_about_the_input_is_refused(run_cli: RunCli, both: Path) -> None:
    assert run_cli("slim", both, "--keep", "onnx-fp32", "--out", "lying").code == 0
    shutil.copyfile(both / "model.fp32-image.onnx", "lying/model.fp32.onnx")

    def lie(record: dict[str, Any]) -> None:
        record["artifacts"][0]["files"] = [file_record(Path("lying"), "model.fp32.onnx").to_json()]

    sealed(Path("lying"), lie)
    for verb in ("verify", "bench"):
        done = run_cli(verb, "lying")
        assert done.code == 2
        assert "its record calls the input of model.fp32.onnx 'tensor', and it is 'image'" in done.err


def test_raw_pixels_alone(run_cli: RunCli, both: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "alone"
    words = [
        REPOSITORY / "tests" / "shortcut.py",
        both,
        "export",
        run,
        "--input",
        "image",
        "--out",
        out,
        "--json",
    ]
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stderr
    said = json.loads(done.stdout)
    assert [each["id"] for each in said["artifacts"]] == IDS
    assert said["recommended"] in IDS
    assert not list(out.glob("model.fp32.*"))
    assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["golden"]
    assert run_cli("verify", out).code == 0
