"""Runs, a bundle and a bench result that commit 6bd292e wrote are read by every verb that takes them.

How they were made is in `tests/records/version-1/README.md`. No assertion is about speed, and none about INT8's logits:
those are a property of the CPU that the bundle was exported on.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

STORED = Path(__file__).parents[1] / "records" / "version-1"
FLOAT = ["onnx-fp32", "openvino-fp32", "onnx-fp16", "openvino-fp16", "onnx-w8", "openvino-w8"]
ALL = ["onnx-fp32", "openvino-fp32", "onnx-int8", "openvino-int8", *FLOAT[2:]]
Run = Callable[..., Any]


def _copy(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(STORED / name, tmp_path / name))


def _run_with_its_images(name: str, tmp_path: Path) -> Path:
    """A copy of a run whose record names the images where they are now."""
    run = _copy(name, tmp_path)
    record = json.loads((run / "run.json").read_text("utf-8"))
    record["data"]["path"] = str(_copy("shapes", tmp_path))
    (run / "run.json").write_text(json.dumps(record), "utf-8")
    return run


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return _copy("bundle", tmp_path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("run", "shufflenet_v2_x0_5 (head) is right on 66.67 % of the 24 images of test; macro F1 64.96 %."),
        (
            "run-partial",
            "shufflenet_v2_x0_5 (partial) is right on 66.67 % of the 24 images of test; macro F1 64.96 %.",
        ),
        (
            "run-imported",
            "factory:small_cnn:small_cnn (import) is right on 91.67 % of the 24 images of test; macro F1 91.67 %.",
        ),
    ],
)
def test_a_run_is_reported(run_cli: Run, tmp_path: Path, name: str, sentence: str) -> None:
    run = _copy(name, tmp_path)
    done = run_cli("report", run)
    assert done.code == 0, done.err
    assert sentence in done.out
    markdown = (run / "report.md").read_text("utf-8")
    page = (run / "report.html").read_text("utf-8")
    for label in ("bar", "disc", "ring"):
        assert label in markdown
        assert label in page
    if name == "run-partial":
        assert "epoch" in markdown.lower(), "the training's history is shown"


def test_a_fine_tuned_run_is_exported_verified_and_reported(run_cli: Run, tmp_path: Path) -> None:
    run = _run_with_its_images("run", tmp_path)
    done = run_cli("export", run, "--out", tmp_path / "exported", "--json")
    # The speed gate is the machine's: on a busy one PyTorch may win.
    assert done.code in (0, 1), done.err
    record = done.json
    assert [row["id"] for row in record["artifacts"]] == ["onnx-fp32", "openvino-fp32"]
    assert all(row["agreement"] == 1 and row["drop_pp"] == 0 for row in record["artifacts"])
    assert record["reference"]["n"] == 24
    assert record["reference"]["accuracy"] == pytest.approx(2 / 3)
    assert (
        record["provenance"]["weights_sha256"]
        == json.loads((run / "run.json").read_text("utf-8"))["files"][0]["sha256"]
    )
    assert run_cli("verify", tmp_path / "exported").code == 0
    assert run_cli("report", tmp_path / "exported").code == 0


def test_an_imported_run_is_exported_with_int8(
    run_cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run_with_its_images("run-imported", tmp_path)
    monkeypatch.syspath_prepend(STORED)
    monkeypatch.setenv("PYTHONPATH", str(STORED), prepend=":")
    done = run_cli(
        *("export", run, "--factory", "small_cnn:small_cnn", "--int8", "--max-drop", 20),
        *("--ladder", "up-to=1", "--out", tmp_path / "exported", "--json"),
    )
    sys.modules.pop("small_cnn", None)
    assert done.code in (0, 1), done.err
    record = done.json
    assert [row["id"] for row in record["artifacts"]] == ALL[:4]
    assert record["reference"]["accuracy"] == pytest.approx(22 / 24)


def test_an_imported_run_names_its_factory_and_does_not_start_it(run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("export", _run_with_its_images("run-imported", tmp_path))
    assert done.code == 2
    assert "--factory" in done.err
    assert "small_cnn:small_cnn" in done.err


def test_images_that_are_gone_are_named(run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("export", _copy("run", tmp_path))
    assert done.code == 2
    assert "/photos/shapes" in done.err


def test_a_bundle_passes_the_three_gates(run_cli: Run, bundle: Path) -> None:
    done = run_cli("verify", bundle, *(word for name in FLOAT for word in ("--artifact", name)), "--json")
    assert done.code == 0, done.err
    result = done.json
    assert result["passed"]
    gates = {(gate["gate"], gate["artifact"]) for gate in result["gates"]}
    assert {(gate, name) for gate in ("device", "loss") for name in FLOAT} <= gates
    assert any(gate == "pixels" for gate, _ in gates)


def test_a_bundle_is_verified_on_labelled_images(run_cli: Run, bundle: Path) -> None:
    done = run_cli(
        "verify", bundle, "--artifact", "onnx-fp32", "--data", STORED / "shapes" / "test", "--json"
    )
    assert done.code == 0, done.err
    [row] = done.json["data"]["accuracy"]
    assert row["artifact"] == "onnx-fp32"
    assert row["n"] == 24
    assert row["accuracy"] == pytest.approx(22 / 24)


@pytest.mark.parametrize("artifact", ALL)
def test_every_artifact_of_a_bundle_predicts(run_cli: Run, bundle: Path, artifact: str) -> None:
    image = STORED / "shapes" / "test" / "bar" / "00.jpg"
    done = run_cli("predict", bundle, image, "--artifact", artifact, "--json")
    assert done.code == 0, done.err
    assert done.json["artifact"] == artifact
    [result] = done.json["results"]
    assert result["top"][0]["label"] == "bar"
    assert result["top"][0]["probability"] > 0.9


def test_a_bundle_is_timed_and_compared_with_the_stored_result(
    run_cli: Run, bundle: Path, tmp_path: Path
) -> None:
    out = tmp_path / "now.json"
    few = ["--rounds", 3, "--blocks", 2, "--count", 6]
    done = run_cli(
        "bench", bundle, "--artifact", "onnx-fp32", "--artifact", "onnx-int8", *few, "-o", out, "--json"
    )
    assert done.code == 0, done.err
    assert [row["id"] for row in done.json["artifacts"]][-2:] == ["onnx-fp32", "onnx-int8"]
    stored = STORED / "bench.json"
    result = json.loads(out.read_text("utf-8"))
    assert result["schema"] == json.loads(stored.read_text("utf-8"))["schema"]
    assert result["bundle"] == json.loads(stored.read_text("utf-8"))["bundle"]
    done = run_cli("bench", "--compare", stored, out, "--json")
    assert done.code == 0, done.err
    assert {(row["artifact"], row["figure"]) for row in done.json["rows"] if row["in_base"]} >= {
        ("onnx-fp32", "latency"),
        ("onnx-int8", "latency"),
    }


def test_a_bundle_is_reported(run_cli: Run, bundle: Path) -> None:
    done = run_cli("report", bundle)
    assert done.code == 0, done.err
    assert "ship onnx-fp32: accuracy drop 0.00 pp" in done.out
    markdown = (bundle / "report.md").read_text("utf-8")
    page = (bundle / "report.html").read_text("utf-8")
    assert all(name in markdown and name in page for name in ALL)
    assert "AVX512_CORE" in markdown, "INT8 under the instruction sets of lesser CPUs is shown"


def test_a_bundle_is_slimmed(run_cli: Run, bundle: Path, tmp_path: Path) -> None:
    done = run_cli("slim", bundle, "--keep", "onnx-w8", "--out", tmp_path / "slim")
    assert done.code == 0, done.err
    assert run_cli("verify", tmp_path / "slim").code == 0
