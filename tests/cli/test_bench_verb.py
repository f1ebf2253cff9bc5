"""The verb bench: what a person sees and what is refused. The small shared bundle; few calls; no duration asserted."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from device.conftest import CONTRACT, LABELS, tell

from edge_tl import api
from edge_tl.device import files
from edge_tl.device.bench import workers
from edge_tl.device.bundle import Bundle, file_record, write_sealed
from edge_tl.device.records.bundle import BundleRecord, ProvenanceRecord
from edge_tl.host.export.pipeline import torch_workloads

RunCli = Callable[..., Any]
FEW = ["--artifact", "onnx-int8", "--rounds", 3, "--blocks", 2, "--count", 6]


def refused(done: Any, *words: str) -> None:
    assert done.code == 2, done
    assert done.out == ""
    assert len(done.err.strip().splitlines()) <= 2, done.err
    assert all(word in done.err for word in words), done.err


@pytest.fixture(scope="module")
def _tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(__file__).parents[1] / "device" / "conftest.py"
    specification = importlib.util.spec_from_file_location("tiny_bundle", path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    root = tmp_path_factory.mktemp("bundle") / "tiny"
    module.build(root)
    return root


@pytest.fixture
def tiny(_tiny: Path, tmp_path: Path) -> Path:
    """A tiny bundle whose recommended artifact is openvino-fp32; it has no PyTorch to be timed beside."""
    return Path(shutil.copytree(_tiny, tmp_path / "tiny"))


@pytest.fixture
def without_openvino(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a device with ONNX Runtime alone: this process and those that it starts find no OpenVINO."""
    (tmp_path / "hidden" / "openvino").mkdir(parents=True)
    gone = "raise ModuleNotFoundError('no openvino', name='openvino')"
    (tmp_path / "hidden" / "openvino" / "__init__.py").write_text(gone)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"), prepend=":")
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails as soon as anything is measured."""

    def start(*_: Any, **__: Any) -> Any:
        raise AssertionError("something was measured")

    monkeypatch.setattr(workers.Worker, "__init__", start)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--aa",),
        ("--fps", 50, "--seconds", 0.3),
        ("--minutes", 0.005),
        ("--parts", "--rounds", 1, "--count", 2),
        ("--throughput", "--quick"),
        ("--batch", "1,2"),
        ("--threads", 1),
    ],
    ids=lambda options: " ".join(map(str, options)) or "plain",
)
@pytest.mark.usefixtures("without_openvino")
def test_a_device_with_one_runtime(run_cli: RunCli, tiny: Path, options: tuple[Any, ...]):
    few = () if {"--fps", "--minutes", "--parts"} & set(options) else ("--rounds", 1, "--blocks", 1)
    result = run_cli("bench", tiny, *options, *few, "--json").json
    assert {entry["artifact"] for entry in result["skipped"]} == {"openvino-fp32", "openvino-int8"}
    assert all("edge-tl[openvino]" in entry["reason"] for entry in result["skipped"])
    assert len(result["skipped"]) == 2, "each is named once"
    alone = bool({"--aa", "--fps", "--minutes"} & set(options))
    shown = {row["id"].removesuffix(" (again)") for row in result["artifacts"]}
    assert shown == ({"onnx-fp32"} if alone else {"onnx-fp32", "onnx-int8"})
    for key in ("sweep", "throughput"):
        assert {row["artifact"] for row in result.get(key, ())} <= {"onnx-fp32", "onnx-int8"}


@pytest.mark.usefixtures("without_openvino", "unmeasured")
def test_the_extra_that_is_missing_is_the_one_named(run_cli: RunCli, tiny: Path):
    for options in ((), ("--aa",), ("--parts",), ("--throughput",), ("--fps", 5), ("--minutes", 1)):
        refused(run_cli("bench", tiny, "--artifact", "openvino-int8", *options), "edge-tl[openvino]")


def test_a_file_that_does_not_load_is_skipped_at_a_pace_too(run_cli: RunCli, tiny: Path):
    record = json.loads((tiny / "bundle.json").read_text("utf-8"))
    (tiny / "model.fp32.xml").write_text(
        "<net><rt_info></rt_info>\n</net>"
    )  # no network, but it tells its labels
    tell(tiny / "model.fp32.xml", LABELS, CONTRACT)
    for artifact in record["artifacts"]:
        artifact["files"] = [file_record(tiny, entry["path"]).to_json() for entry in artifact["files"]]
    write_sealed(tiny, record)
    for options in (("--fps", 50, "--seconds", 0.3), ("--rounds", 1, "--blocks", 1)):
        result = run_cli("bench", tiny, *options, "--json").json
        (entry,) = result["skipped"]
        assert entry["artifact"] == "openvino-fp32"
        assert entry["reason"].startswith("OpenVINO cannot load model.fp32.xml: ")
    refused(run_cli("bench", tiny, "--artifact", "openvino-fp32"), "cannot load model.fp32.xml")


@pytest.mark.usefixtures("unmeasured")
def test_where_nothing_can_be_saved_is_said_before_anything_is_measured(
    run_cli: RunCli, tiny: Path, tmp_path: Path
):
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    before = sorted(tmp_path.iterdir())
    for name in ("bench", "verify"):
        for path, why in (
            ("tiny", "a folder"),
            ("file/r.json", "Not a directory"),
            ("pipe", "no ordinary file"),
        ):
            refused(run_cli(name, tiny, "-o", path), f"--out {path}", why)
        refused(run_cli(name, tiny, "-o", "n" * 250), "File name too long")
        for inside in (tiny / "model.fp32.onnx", tiny / "new" / "r.json"):
            refused(run_cli(name, tiny, "-o", inside), f"--out {inside}: that is inside {tiny.name}")
    (tmp_path / "benchmarks").touch()
    refused(run_cli("bench", tiny, "--save"), "--save benchmarks", "Not a directory")
    (tmp_path / "benchmarks").unlink()
    assert sorted(tmp_path.iterdir()) == before, "a refusal left something"


@pytest.mark.parametrize("name", ["bench", "verify"])
def test_a_result_that_cannot_be_saved_after_all_is_printed_first(
    run_cli: RunCli, tiny: Path, monkeypatch: pytest.MonkeyPatch, name: str
):
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "r.json")

    monkeypatch.setattr(files, "write_json", full)
    few = ("--artifact", "onnx-fp32", *(("--rounds", 1, "--blocks", 1) if name == "bench" else ()))
    done = run_cli(name, tiny, *few, "-o", "r.json", "--json")
    assert done.code == 2
    assert "No space left on device" in done.err.strip().splitlines()[-1]
    assert done.json["machine"]


@pytest.mark.usefixtures("unmeasured")
def test_an_option_that_would_be_ignored_is_refused(run_cli: RunCli, tiny: Path):
    for pace in (("--fps", 5), ("--minutes", 1), ("--load", 1)):
        for option in (("--blocks", 3), ("--count", 3), ("--quick",)):
            refused(run_cli("bench", tiny, *pace, *option), f"{option[0]} has no effect at a rate")
    refused(run_cli("bench", tiny, "--minutes", 1, "--rounds", 3), "--rounds", "one process")
    refused(run_cli("bench", tiny, "--parts", "--blocks", 3), "--blocks has no effect on --parts")
    two = ("--artifact", "onnx-fp32", "--artifact", "onnx-int8")
    for option in (("--aa",), ("--minutes", 1)):
        refused(run_cli("bench", tiny, *option, *two), "measure one artifact")
    for option in (("--save",), ("--fps", 5), ("--parts",), ("--minutes", 1), ("--aa",), ("--quick",)):
        refused(run_cli("bench", "--compare", "a.json", *option), f"{option[0]} does not go with --compare")


def test_a_bundle_that_does_not_name_its_model_is_timed_without_pytorch():
    """A bundle's record promises recipe, seed, versions and host as its provenance, and no more."""
    provenance = ProvenanceRecord(seed=0, versions={}, host={})
    record = SimpleNamespace(labels=("a",), provenance=provenance)
    assert torch_workloads(Path("absent"), cast(BundleRecord, record)) == []
    bundle = SimpleNamespace(root=Path("absent"), record=record)
    assert list(api._pytorch(cast(Bundle, bundle), "CPU", None)) == []


@pytest.fixture(scope="module")
def saved(shell: RunCli, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two results of the same artifact, saved the way a user does."""
    here = tmp_path_factory.mktemp("here")
    for _ in range(2):
        done = shell("bench", bundle, *FEW, "--save", "--json", cwd=here)
        assert done.code == 0, done.err
        assert "saved benchmarks/results/" in done.err
    paths = sorted((here / "benchmarks" / "results").glob("*/*.json"))
    assert len(paths) == 2
    for path in paths:
        quieten(path)
    return paths


def quieten(path: Path) -> None:
    """The result as of a quiet machine: other tests run beside this one, and nothing is judged then."""
    record = json.loads(path.read_text())
    record["conditions"]["during"] |= {"others": 0.0, "stolen": 0.0}
    record["conditions"]["against_itself_ci"] = [0.99, 1.01]
    for row in record["artifacts"]:
        least = min(ns for block in row["samples_ns"] for ns in block)
        row["samples_ns"] = [
            [least + least * (i % 3) // 100 for i, _ in enumerate(block)] for block in row["samples_ns"]
        ]
        row.pop("not_judged", None)
    path.write_text(json.dumps(record))


def test_a_table_says_how_sure_it_is(run_cli: RunCli, bundle: Path):
    done = run_cli("bench", bundle, *FEW)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split("  ")[0] == "artifact"
    assert "p50 ms [95 %]" in lines[0]
    assert "x pytorch" in lines[0]
    assert any(line.startswith("onnx-int8") and "[" in line for line in lines)
    assert all(len(line) < 140 for line in lines)


def test_against_itself(run_cli: RunCli, bundle: Path):
    done = run_cli("bench", bundle, "--aa", *FEW)
    assert done.code == 0, done.err
    assert "onnx-int8 (again)" in done.out
    assert "noise of this machine now" in done.out
    assert "pytorch" not in done.out
    result = run_cli("bench", bundle, "--aa", *FEW, "--json").json
    assert {"ratio", "ratio_ci", "width", "contains_one"} == set(result["noise"])
    assert result["harness_floor_us"] > 0


def test_at_a_pace(run_cli: RunCli, bundle: Path):
    done = run_cli("bench", bundle, "--fps", 20, "--seconds", 0.6, "--load", 1, "--artifact", "onnx-int8")
    assert done.code == 0, done.err
    assert "20 a second, beside 1 busy" in done.out
    assert "later than 50 ms" in done.out
    done = run_cli("bench", bundle, "--minutes", 0.01, "--artifact", "onnx-int8")
    assert "last by first" in done.out
    assert "throttling: " in done.out


def test_in_parts(run_cli: RunCli, bundle: Path):
    done = run_cli("bench", bundle, "--parts", "--quick", "--artifact", "onnx-int8")
    assert done.code == 0, done.err
    for word in ("decode", "preprocess", "postprocess", "whole", "cold start", "MiB peak", "file MB"):
        assert word in done.out
    done = run_cli("bench", bundle, "--batch", "1,2", "--throughput", "--quick", *FEW)
    assert "ms per image" in done.out
    assert "streams" in done.out


def test_saved_results_side_by_side(run_cli: RunCli, saved: list[Path], tmp_path: Path):
    assert "one result: give another" in run_cli("bench", "--compare", saved[0]).err
    done = run_cli("bench", "--compare", *saved)
    assert done.code == 0, done.err
    assert "[1]" in done.out
    assert "base" in done.out
    found = run_cli("bench", "--compare", *saved, "--json").json
    assert [row["artifact"] for row in found["rows"]].count("onnx-int8") == 2
    assert found["rows"][-1]["slowdown_ci"] is not None
    for kind, start in (("svg", b"<?xml"), ("png", b"\x89PNG")):
        for _ in range(2):  # its own drawing is replaced
            assert run_cli("bench", "--compare", *saved, "--plot", f"p.{kind}").code == 0
        assert (tmp_path / f"p.{kind}").read_bytes().startswith(start)


def slowed(path: Path, to: Path, factor: float) -> Path:
    """The result as it would be, had every call taken `factor` times as long."""
    record = json.loads(path.read_text())
    for row in record["artifacts"]:
        row["samples_ns"] = [[int(ns * factor) for ns in block] for block in row["samples_ns"]]
    to.write_text(json.dumps(record))
    return to


def test_the_gate_for_ci(run_cli: RunCli, saved: list[Path], tmp_path: Path):
    same = run_cli("bench", "--compare", saved[0], saved[0], "--fail-if-slower", "5%")
    assert same.code == 0, same.err
    assert "PASSED" in same.out
    slow = slowed(saved[0], tmp_path / "slow.json", 100)
    done = run_cli("bench", "--compare", saved[0], slow, "--fail-if-slower", "5%", "-o", "gate.json")
    assert done.code == 1
    assert "FAIL: onnx-int8" in done.out
    assert json.loads((tmp_path / "gate.json").read_text())["passed"] is False


def test_what_is_refused(run_cli: RunCli, bundle: Path, saved: list[Path], tmp_path: Path):
    (tmp_path / "other.json").write_text('{"a": 1}')
    refused(run_cli("bench", "--compare", saved[0], "other.json"), "other.json", "no result of edge-tl bench")
    refused(run_cli("bench", "--compare", bundle / "bundle.json"), "no result of edge-tl bench")
    refused(run_cli("bench", "--compare", "absent.json"), "absent.json")
    refused(run_cli("bench", "--compare", *saved, "--fail-if-slower", "much"), "--fail-if-slower much")
    refused(run_cli("bench", "--compare", *saved, "--plot", "p.pdf"), ".svg or .png")
    before = saved[1].read_bytes()
    refused(run_cli("bench", "--compare", *saved, "-o", saved[1]), "that file is read")
    assert saved[1].read_bytes() == before
    refused(run_cli("bench", bundle, "--fail-if-slower", "5%"), "--compare")
    refused(run_cli("bench", bundle, bundle), "one bundle")
    refused(run_cli("bench", bundle, "--aa", "--parts"), "separate runs")
    refused(run_cli("bench", bundle, "--fps", 0), "--fps 0")
    refused(run_cli("bench", bundle, "--seconds", 3), "--fps 10")
    refused(run_cli("bench", bundle, "--fps", 5, "--seconds", 3, "--minutes", 1), "both say how long")
    refused(run_cli("bench", bundle, "--batch", "1,x"), "--batch 1,x")
    refused(run_cli("bench", bundle, "--threads", "0"), "--threads 0")
    refused(run_cli("bench", bundle, "--minutes", -1), "--minutes -1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.json"], "a refusal left something"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_process(bundle: Path, tmp_path: Path, number: signal.Signals):
    """Whatever started below the verb is gone, and nothing was saved."""
    command = [sys.executable, "-m", "edge_tl", "bench", str(bundle), "--fps", "5", "--seconds", "9"]
    command += ["--load", "2", "--artifact", "onnx-int8", "-o", "r.json"]
    root = Path(__file__).parents[2]

    def heeds_interrupts() -> None:
        signal.signal(
            signal.SIGINT, signal.SIG_DFL
        )  # a test run in the background ignores them, and so would this

    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL, preexec_fn=heeds_interrupts
    ) as process:
        below: set[int] = set()
        for _ in range(3000):
            below = children_of(process.pid)
            if len(below) >= 3 or process.poll() is not None:
                break
            time.sleep(0.02)
        assert len(below) == 3, "a model and two busy processes"
        process.send_signal(number)
        assert process.wait(60) == 130
    assert not (tmp_path / "r.json").exists()
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in below):
            break
        time.sleep(0.1)
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]


def children_of(pid: int) -> set[int]:
    try:
        return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    except FileNotFoundError:
        return set()


def test_the_help_lists_options_in_groups(run_cli: RunCli):
    done = run_cli("bench", "--help")
    for title in ("How long:", "At the application's rate:", "In parts:", "Saved results:"):
        assert title in done.out
    assert done.out.partition("Examples:")[0].count("--fps") == 1
