"""The command line, end to end: every verb's one JSON object, its keys, its exit code, and nothing else on stdout."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import shortcut

from edge_tl.host.export import artifacts

RunCli = Callable[..., Any]
IDS = {"onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"}
PERCENTILES = {"p50", "p90", "p99", "n"}


def test_finetune_prints_the_keys_of_the_design(finetuned: dict[str, Any], run: Path):
    wanted = {"run", "model", "strategy", "classes", "n", "metrics", "seconds"}
    assert wanted <= set(finetuned)
    assert (finetuned["model"], finetuned["strategy"], finetuned["classes"]) == (
        "mobilenet_v3_small",
        "head",
        3,
    )
    assert finetuned["n"] == {"train": 84, "val": 18, "test": 18}
    assert {"accuracy", "macro_f1", "per_class", "confusion", "split"} <= set(finetuned["metrics"])
    assert {"features", "train", "total"} <= set(finetuned["seconds"])
    assert finetuned["metrics"]["accuracy"] > 0.9  # three digits, real features
    assert finetuned["labels"] == sorted(finetuned["labels"])
    assert [Path(entry["path"]).name for entry in finetuned["skipped"]] == ["broken.png"]
    written = json.loads((run / "run.json").read_text(encoding="utf-8"))
    assert written["metrics"] == finetuned["metrics"]
    assert written["labels"] == finetuned["labels"]


def test_export_prints_the_bundle_record(exported: dict[str, Any], finetuned: dict[str, Any], bundle: Path):
    wanted = [
        "schema_version", "name", "labels", "preprocess", "reference", "artifacts", "recommended", "provenance",
    ]  # fmt: skip
    assert set(wanted) <= set(exported)
    assert exported["labels"] == finetuned["labels"]
    assert {a["id"] for a in exported["artifacts"]} == IDS
    keys = [
        "id", "runtime", "precision", "files", "accuracy", "drop_pp", "drop_ci_pp", "agreement", "max_abs_diff",
        "latency_ms", "speedup", "passed", "reasons",
    ]  # fmt: skip
    for artifact in exported["artifacts"]:
        assert set(keys) <= set(artifact)
        assert set(artifact["latency_ms"]) >= PERCENTILES
        assert all(set(f) == {"path", "sha256", "bytes"} for f in artifact["files"])
    assert {"framework", "accuracy", "n", "latency_ms"} <= set(exported["reference"])
    assert exported["reference"]["accuracy"] == finetuned["metrics"]["accuracy"]
    assert {"recipe", "seed", "versions", "host"} <= set(exported["provenance"])
    whole = json.loads((bundle / "report.json").read_text(encoding="utf-8"))
    assert {key: whole[key] for key in wanted} == {key: exported[key] for key in wanted}
    written = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))  # the device's part of it
    assert set(wanted) <= set(written)
    for of_device, artifact in zip(written["artifacts"], exported["artifacts"], strict=True):
        assert {key: of_device[key] for key in keys} == {key: artifact[key] for key in keys}


def test_verify_passes_where_the_bundle_was_made(shell: RunCli, bundle: Path, images: Path, tmp_path: Path):
    done = shell("verify", bundle, "--data", images, "--out", tmp_path / "v.json", "--json")
    result = done.json
    assert json.loads((tmp_path / "v.json").read_text(encoding="utf-8")) == result
    assert {"passed", "gates"} <= set(result)
    for gate in result["gates"]:
        assert {"gate", "artifact", "measured", "limit", "passed", "reason"} <= set(gate)
    assert done.code == (0 if result["passed"] else 1)
    exact = [g for g in result["gates"] if g["unit"] != "pp"]
    assert {g["gate"] for g in exact} == {"pixels", "device", "loss"}
    assert all(g["passed"] for g in exact)
    assert {row["artifact"] for row in result["data"]["accuracy"]} == IDS
    assert [Path(e["path"]).name for e in result["data"]["skipped"]] == ["broken.png"]
    assert "broken.png: " in done.err
    assert "next: edge-tl" in done.err


def test_bench_prints_latencies_and_says_what_ran(shell: RunCli, bundle: Path, run: Path):
    options = ["--quick", "--rounds", 1, "--count", 12, "--artifact", "onnx-int8", "--json"]
    done = shell("bench", bundle, "--run", run, *options)
    assert done.code == 0, done.err
    result = done.json
    assert {"machine", "artifacts"} <= set(result)
    assert [row["id"] for row in result["artifacts"]] == ["pytorch", "onnx-int8"]
    for row in result["artifacts"]:
        assert set(row["latency_ms"]) >= PERCENTILES
        assert row["latency_ms"]["p50"] > 0
        assert row["latency_ms"]["p99"] is None
        assert {"device", "precision", "threads"} <= set(row["ran"])
        assert "speedup_ci" in row
    assert result["baseline"] == "pytorch"
    assert result["artifacts"][0]["ran"]["weights"] == "the run's"
    assert result["artifacts"][1]["ran"]["precision"] == "int8"


def test_predict_prints_its_results_in_the_order_given(
    run_cli: RunCli, bundle: Path, images: Path, finetuned: dict[str, Any]
):
    chosen = [next(p for p in sorted((images / label).iterdir())) for label in reversed(finetuned["labels"])]
    done = run_cli("predict", bundle, *chosen, "--top", 2, "--json")
    assert done.code == 0
    assert set(done.json) == {"artifact", "device", "tuned", "threads", "results", "failed"}
    assert done.json["failed"] == []
    assert [entry["image"] for entry in done.json["results"]] == [str(path) for path in chosen]
    for entry, path in zip(done.json["results"], chosen, strict=True):
        assert len(entry["top"]) == 2
        assert entry["top"][0]["label"] == path.parent.name
        assert 1 >= entry["top"][0]["probability"] >= entry["top"][1]["probability"] >= 0
    everything = run_cli(
        "predict", bundle, chosen[0], "--artifact", "openvino-int8", "--top", 99, "--json"
    ).json
    assert sum(t["probability"] for t in everything["results"][0]["top"]) == pytest.approx(1)
    assert (everything["artifact"], everything["device"]) == ("openvino-int8", "CPU")


def test_predict_on_a_folder_answers_every_image_below_it(run_cli: RunCli, bundle: Path, images: Path):
    done = run_cli("predict", bundle, images, "--json")
    assert done.code == 2  # one file there says it is an image and is none
    assert len(done.json["results"]) == 120
    assert [Path(one["image"]).name for one in done.json["failed"]] == ["broken.png"]
    (Path("empty")).mkdir()
    assert "no image below" in run_cli("predict", bundle, "empty").err


def test_the_result_comes_before_what_to_type_next(shell: RunCli, bundle: Path, tmp_path: Path):
    """As a terminal has it: one stream."""
    import os
    import subprocess
    import sys

    for words in (
        ["recipes", "ls"],
        ["predict", str(bundle), str(next((bundle / "golden/images").iterdir()))],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "edge_tl", *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            encoding="utf-8", cwd=tmp_path, env=os.environ, check=True,
        )  # fmt: skip
        lines = done.stdout.splitlines()
        assert "next: edge-tl" in lines[-1]
        assert not any("next: " in line for line in lines[:-1])


def test_report_prints_the_sentence_and_the_paths_only(
    run_cli: RunCli, bundle: Path, run: Path, tmp_path: Path
):
    for source, said in ((bundle, "ship "), (run, "is right on")):
        done = run_cli("report", source, "--out", tmp_path / "pages")
        assert done.code == 0
        assert said in done.out
        assert len(done.out.splitlines()) == 2
        assert str(tmp_path / "pages" / "report.html") in done.out


def test_devices_prints_the_machine(run_cli: RunCli):
    result = run_cli("devices", "--json").json
    assert {"cpu", "isa", "cores_allowed"} <= set(result["machine"])
    assert "CPUExecutionProvider" in result["runtimes"]["onnxruntime"]["providers"]
    assert "CPU" in [device["name"] for device in result["runtimes"]["openvino"]["devices"]]


def test_recipes_ls_show_copy_check(run_cli: RunCli, tmp_path: Path):
    names = [entry["name"] for entry in run_cli("recipes", "ls", "--json").json["recipes"]]
    assert {"demo", "own-folder"} <= set(names)
    for name in names:
        checked = run_cli("recipes", "check", name, "--json")
        assert checked.code == 0
        assert set(checked.json["recipe"]) >= {"data", "model", "train", "head", "export"}
    shown = run_cli("recipes", "show", "demo", "--json").json
    copied = run_cli("recipes", "copy", "demo", "mine.yaml", "--json").json
    assert copied == {"path": "mine.yaml"}
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") == shown["text"]
    assert run_cli("recipes", "check", "mine.yaml", "--json").json["recipe"]["model"]["weights"] == "embedded"


@pytest.mark.parametrize("kind", ["run", "bundle"])
def test_report_writes_two_pages(run_cli: RunCli, run: Path, bundle: Path, tmp_path: Path, kind: str):
    source = run if kind == "run" else bundle
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    done = run_cli("report", source, "--out", tmp_path / "pages", "--json")
    assert done.code == 0
    assert done.json == {
        "report": str(tmp_path / "pages" / "report.html"), "markdown": str(tmp_path / "pages" / "report.md"),
    }  # fmt: skip
    assert "acht 🎱" in (tmp_path / "pages" / "report.md").read_text(encoding="utf-8") + "acht 🎱" * (
        kind == "bundle"
    )
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before


def test_a_recipe_of_ones_own_runs_and_its_second_run_reads_the_cache(
    run_cli: RunCli, images: Path, run: Path, tmp_path: Path, finetuned: dict[str, Any]
):
    shutil.copytree(run, tmp_path / "runs" / "before")
    (tmp_path / "my.yaml").write_text(
        f"data: {{path: '{images}'}}\nmodel: {{name: mobilenet_v3_small, weights: embedded, image_size: 64}}\n"
        "train: {strategy: head}\n"
    )
    done = run_cli("finetune", "my.yaml", "--set", "head.C=[0.1, 0.01]", "--seed", 5, "--json")
    assert done.code == 0, done.err
    assert done.json["features_computed"] == 0
    assert [entry["C"] for entry in done.json["head"]["grid"]] == [0.01, 0.1]
    assert done.json["run"] == "runs/digits-mobilenet_v3_small-head"
    assert (tmp_path / done.json["run"] / "run.json").is_file()
    again = run_cli("finetune", "my.yaml", "--set", "seed=5", "--set", "head.C=[0.01, 0.1]", "--json")
    assert again.json["metrics"] == done.json["metrics"]
    assert finetuned["features_computed"] == 121


def test_without_json_people_get_a_table_and_the_next_command(run_cli: RunCli, bundle: Path):
    done = run_cli("verify", bundle, "--artifact", "onnx-fp32")
    assert done.code == 0
    assert "PASSED" in done.out
    assert "1 of 4 artifacts verified" in done.out
    assert re.search(r"pass\s+device\s+onnx-fp32", done.out)
    assert f"next: edge-tl bench {bundle}" in done.err


@pytest.mark.parametrize(
    ("given", "shown", "warned"), [("3", "3", False), ("0.005", "0.005", True), ("0.5", "0.5", False)]
)
def test_export_reads_the_budget_back_in_percentage_points(
    run_cli: RunCli,
    run: Path,
    bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
    shown: str,
    warned: bool,
):
    shortcut.install(bundle, monkeypatch.setattr)
    done = run_cli("export", run, "--int8", "--max-drop", given, "--out", "b", "--json")
    assert f"may drop by {shown} percentage points" in done.err
    assert ("is not a fraction" in done.err) == warned
    assert {a["limits"]["max_drop_pp"] for a in done.json["artifacts"]} == {float(given)}


def test_a_failed_budget_exits_1_with_everything_saved(
    run_cli: RunCli, run: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shortcut.install(bundle, monkeypatch.setattr)
    graph = onnx.load(bundle / "model.fp32.onnx")
    head = next(node for node in graph.graph.node if node.op_type == "Gemm")
    bias = next(tensor for tensor in graph.graph.initializer if tensor.name == head.input[2])
    values = onnx.numpy_helper.to_array(bias).copy()
    values[0] += 100  # one class for every image
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    copied = artifacts.move_files

    def keep(best: Any, to: Path) -> None:
        copied(best, to)
        if to.suffix == ".onnx":
            onnx.save(graph, to)

    monkeypatch.setattr(artifacts, "move_files", keep)
    done = run_cli("export", run, "--int8", "--max-drop", "0", "--out", "b", "--json")
    assert done.code == 1
    assert done.json["passed"] is False
    assert "onnx-int8" in done.err
    assert "error:" not in done.err
    assert (tmp_path / "b" / "bundle.json").is_file()
    assert (tmp_path / "b" / "report.html").is_file()
    assert run_cli("predict", "b", bundle / "golden/images/00.png", "--json").code == 0
    assert run_cli("verify", "b", "--artifact", "onnx-fp32", "--json").code == 0


def test_a_failed_gate_exits_1(run_cli: RunCli, bundle: Path, tmp_path: Path):
    """Another resize than the bundle's is what the first gate is there for."""
    shutil.copytree(bundle, tmp_path / "b")
    path = tmp_path / "b" / "bundle.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"interpolation": "bicubic"', '"interpolation": "nearest"'),
        encoding="utf-8",
    )
    done = run_cli("verify", "b", "--artifact", "onnx-fp32", "--json")
    assert done.code == 1
    assert [g["gate"] for g in done.json["gates"] if not g["passed"]] == ["pixels"]


def test_an_accuracy_comes_with_its_interval_and_says_what_chose(
    images: Path, tmp_path: Path, run_cli: RunCli
):
    """Without a test split the images that judge have also chosen."""
    data = tmp_path / "data"
    for name in ("acht 🎱", "zéro"):
        for i, file in enumerate(sorted((images / name).glob("*.png"))[:20]):
            folder = data / ("val" if i < 6 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder)
    options = "--model mobilenet_v3_small --weights embedded --image-size 64 --strategy lp-ft --epochs 1"
    words = ["finetune", data, *options.split(), "--set", "train.workers=0"]
    done = run_cli(*words, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert re.search(r"accuracy [01]\.\d{4}, 95 % interval \[0\.\d{4}, [01]\.\d{4}\], macro F1", done.out)
    assert "on the 12 images of val, which also chose what was kept" in done.out
    assert re.search(r"^kept (epoch 1 of 1|the solved head: none of 1 epochs)", done.err, re.MULTILINE)
    record = run_cli(*words, "--out", tmp_path / "run", "--resume", "--json").json
    low, high = record["metrics"]["accuracy_ci"]
    assert low < record["metrics"]["accuracy"] <= high
    assert record["metrics"]["chosen_on_same_images"] is True
    assert record["kept"]["planned"] == record["kept"]["trained"] == 1


def test_images_that_only_judge_say_so(finetuned: dict[str, Any]):
    assert finetuned["metrics"]["chosen_on_same_images"] is False
    assert finetuned["kept"] is None  # the head alone was solved
