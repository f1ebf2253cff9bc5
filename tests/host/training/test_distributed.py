"""Real processes: two that share one training, started by the launchers people use, and one that is killed.

Every test starts processes of its own; the command line and the files are all that is looked at.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from edge_tl.host.runs import checkpoint
from edge_tl.host.training import distributed, resume

REPOSITORY = Path(__file__).parents[3]
OPTIONS = (
    "--model mobilenet_v3_small --weights embedded --image-size 48 --strategy partial --epochs 2 --batch-size 10 "
    "--set train.blocks=1 --set train.workers=0 --set data.test=0.3 --json"
).split()
TORCHRUN = ["torch.distributed.run", "--nproc-per-node", "2", "-m", "edge_tl"]
ACCELERATE = ["accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "-m", "edge_tl"]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def test_alone_there_is_nobody_to_wait_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("RANK", raising=False)
    assert (distributed.many(), distributed.count(), distributed.rank(), distributed.is_main()) == (
        False,
        1,
        0,
        True,
    )
    distributed.wait()
    assert distributed.from_main(lambda: {"a": 1}) == {"a": 1}
    assert distributed.gathered(("b", 2)) == [("b", 2)]


@pytest.mark.parametrize(
    ("world", "rank", "main"),
    [("1", "0", True), ("2", "0", True), ("2", "1", False), ("", "", True), ("1", "3", True)],
)
def test_who_is_main_is_known_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, world: str, rank: str, main: bool
):
    monkeypatch.setenv("WORLD_SIZE", world)
    monkeypatch.setenv("RANK", rank)
    assert distributed.is_main() == main


@pytest.mark.parametrize(
    ("set_to", "world", "by_a_person", "expected"),
    [
        (None, None, False, 8),
        ("3", None, False, 3),
        ("1", None, False, 1),
        ("1", "4", False, 2),  # torchrun's own 1
        ("1", "4", True, 1),
        ("3", "4", False, 3),
        (None, "4", False, 2),
        ("1", "16", False, 1),
    ],
)
def test_a_launchers_one_thread_is_nobodys_wish(
    monkeypatch: pytest.MonkeyPatch, set_to: str | None, world: str | None, by_a_person: bool, expected: int
):
    for name, value in {"OMP_NUM_THREADS": set_to, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(distributed, "cores_allowed", lambda: 8)
    monkeypatch.setattr(distributed, "_asked_by_a_person", lambda: by_a_person)
    assert distributed.threads() == expected


TELL = "from edge_tl.host.training import distributed; print(distributed._asked_by_a_person())"
CHILD = f"""import os, subprocess, sys
os.environ["OMP_NUM_THREADS"] = "1"
subprocess.run([sys.executable, "-c", {TELL!r}])"""


@pytest.mark.skipif(
    not Path("/proc/self/environ").exists(), reason="the launcher's environment is read in /proc"
)
@pytest.mark.parametrize("given", [True, False])
def test_who_set_the_threads_is_seen_in_the_launchers_environment(given: bool):
    env = {k: v for k, v in ENVIRONMENT.items() if k != "OMP_NUM_THREADS"}
    env |= {"OMP_NUM_THREADS": "1"} if given else {}
    done = subprocess.run([sys.executable, "-c", CHILD], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == str(given)


@pytest.fixture(scope="module")
def sixty(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty each of three digits that nobody mistakes, and one file that is no image."""
    folder = tmp_path_factory.mktemp("sixty") / "digits"
    for label in "014":
        (folder / label).mkdir(parents=True)
        for path in sorted((digits / label).iterdir())[:20]:
            shutil.copy(path, folder / label / path.name)
    (folder / "1" / "broken.png").write_text("not an image")
    return folder


# One thread in every process: two processes with two threads each would wait for each other on two cores, and
# byte-identical weights are promised for the same number of threads.
def start(module: list[str], *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", *module, *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, env=ENVIRONMENT
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.count("\n") == 1, out
    assert "error:" not in err
    result: dict[str, Any] = json.loads(out)
    return result


@pytest.fixture(scope="module")
def alone(sixty: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("alone") / "run"
    return finish(start(["edge_tl"], "finetune", sixty, *OPTIONS, "--out", out))


def digest(path: Path) -> str:
    """Weights are compared by it: a difference of megabytes, spelled out, would take longer than all tests."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cache(run: Path) -> dict[str, str]:
    """The digest of everything below features/, by path."""
    folder = run / "features"
    return {str(p.relative_to(folder)): digest(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def as_the_one(result: dict[str, Any], alone: dict[str, Any], out: Path) -> None:
    record = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert record["provenance"]["processes"] == 2
    assert cache(out) == cache(Path(alone["run"]))
    assert len(cache(out)) == 2
    assert result["metrics"]["accuracy"] == pytest.approx(alone["metrics"]["accuracy"], abs=0.005)
    assert (result["n"], result["skipped"]) == (alone["n"], alone["skipped"])
    assert [entry["epoch"] for entry in result["history"]] == [1, 2]
    # Who shares a batch answers for half of it: the mean loss is that of the batch, up to BatchNorm's statistics.
    for ours, theirs in zip(result["history"], alone["history"], strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.3)
    assert {p.name for p in out.iterdir()} == {p.name for p in Path(alone["run"]).iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_two_processes_make_the_run_of_one(
    launcher: list[str], sixty: Path, alone: dict[str, Any], tmp_path: Path
):
    result = finish(start(launcher, "finetune", sixty, *OPTIONS, "--out", tmp_path / "run"))
    as_the_one(result, alone, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_two_processes_record_is_what_they_write(sixty: Path, tmp_path: Path, ema: float):
    """BatchNorm's statistics are each process's own; oracle: the written weights, judged alone."""
    options = [
        "--strategy",
        "full",
        "--epochs",
        "2",
        "--batch-size",
        "8",
        "--lr",
        "0.01",
        "--set",
        f"train.ema={ema}",
    ]
    run = tmp_path / "run"
    result = finish(start(TORCHRUN, "finetune", sixty, *OPTIONS, *options, "--out", run))
    model, record = checkpoint.load_run(run)
    contract, dataset = record.preprocess, record.dataset()
    val = dataset.split("val")
    last, _ = resume.read_tensors(run / resume.LAST)
    for weights, epoch in ((model.state_dict(), result["best_epoch"]), (last, 2)):
        if not epoch:  # the start was the best
            continue
        model.load_state_dict(weights)
        inputs = np.stack([contract.apply(source.read_bytes()) for source in dataset.sources(val)])
        with torch.inference_mode():
            loss = cross_entropy(model.eval()(torch.from_numpy(inputs)), torch.tensor([s.label for s in val]))
        assert float(loss) == pytest.approx(result["history"][epoch - 1]["val_loss"], abs=1e-5)


@pytest.mark.slow
def test_two_processes_go_on_where_two_were_killed(sixty: Path, alone: dict[str, Any], tmp_path: Path):
    """What a killed process had computed lies beside the cache; it is used, and nothing is lost or doubled."""
    run = tmp_path / "run"
    shutil.copytree(Path(alone["run"]) / "features", run / "features")
    shutil.copy(Path(alone["run"]) / "recipe.yaml", run)
    (whole,) = (run / "features").iterdir()
    width = (whole / "rows.f32").stat().st_size // 60
    part = whole.rename(whole.with_name(f"{whole.name}.part1"))
    lines = (part / "index.jsonl").read_bytes().split(b"\n")
    (part / "index.jsonl").write_bytes(b"\n".join(lines[:20]) + b"\n")
    (part / "rows.f32").write_bytes((part / "rows.f32").read_bytes()[: 20 * width])
    result = finish(start(TORCHRUN, "finetune", sixty, *OPTIONS, "--out", run))
    assert result["features_computed"] == 41
    assert result["metrics"]["accuracy"] == pytest.approx(alone["metrics"]["accuracy"], abs=0.005)
    assert [p.name for p in (run / "features").iterdir()] == [whole.name]
    rows = [json.loads(line) for line in (whole / "index.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sorted(entry["row"] for entry in rows if "row" in entry) == list(range(60))


@pytest.mark.slow
def test_what_one_process_refuses_ends_both(sixty: Path, tmp_path: Path):
    process = start(TORCHRUN, "finetune", sixty, *OPTIONS, "--batch-size", "33", "--out", tmp_path / "run")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) != (0, "")
    assert "2 processes cannot share it evenly" in err
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_killed_run_goes_on_to_the_same_weights(sixty: Path, tmp_path: Path, shell: Callable[..., Any]):
    """SIGKILL leaves no time for anything; oracle: the run that nobody killed."""
    run, whole_run = tmp_path / "a" / "run", tmp_path / "b" / "run"  # no neighbours: each has its own cache
    options = [*OPTIONS, "--epochs", "8", "--set", "train.checkpoint_seconds=0"]
    options += ["--set", "train.batch_size=8", "--lr", "0.01"]
    whole = finish(start(["edge_tl"], "finetune", sixty, *options, "--out", whole_run))
    process = start(["edge_tl"], "finetune", sixty, *options, "--out", run)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 3/"):
            break
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (run / "run.json").exists()

    done = shell("finetune", sixty, *options, "--out", run)
    assert done.code == 2
    assert "holds an unfinished training. Add --resume" in done.err
    done = shell("finetune", sixty, *options, "--lr", "0.02", "--resume", "--out", run)
    assert done.code == 2
    assert "unfinished training of another recipe; asked for: train.lr 0.02 (there 0.01)" in done.err
    again = finish(
        start(["edge_tl"], "finetune", run, "--resume", "--json")
    )  # the folder alone says what it was
    for name in ("model.safetensors", "last.safetensors"):
        assert digest(run / name) == digest(whole_run / name)
    assert again["metrics"] == whole["metrics"]
    assert [e["train_loss"] for e in again["history"]] == [e["train_loss"] for e in whole["history"]]
    assert again["features_computed"] == 0
    assert {p.name for p in run.iterdir()} == {p.name for p in whole_run.iterdir()}
    once_more = shell("finetune", run, "--resume", "--json")
    assert once_more.json["metrics"] == whole["metrics"]
    assert "is finished" in once_more.err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="groups of processes")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_what_stops_a_whole_group_leaves_a_state(sixty: Path, tmp_path: Path, name: str):
    """As a service manager or a closed terminal does, workers included; the first step's end is kept, hours or not."""
    run = tmp_path / "run"
    options = [*OPTIONS, "--epochs", "60", "--batch-size", "8", "--set", "train.checkpoint_seconds=3600"]
    options += ["--set", "train.workers=1", "--set", "train.patience=0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_tl", "finetune", str(sixty), *options, "--out", str(run)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY, env=ENVIRONMENT,
        start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            break
    os.killpg(process.pid, getattr(signal, name))
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "unexpected" not in err
    assert (resume.steps_done(run / checkpoint.STATE) or 0) >= 2 * 4


def test_finetuning_needs_no_openvino_and_no_nncf(sixty: Path, tmp_path: Path):
    code = "import sys; sys.modules['openvino'] = sys.modules['nncf'] = None; from edge_tl.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "finetune", str(sixty), *OPTIONS, "--epochs", "1", "--out", str(tmp_path / "r")],
        capture_output=True, text=True, cwd=REPOSITORY, env=ENVIRONMENT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["strategy"] == "partial"
