"""The verb `compare` on three classes of digits: two processes that share the work, budgets, a model that fails."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from edge_tl.cli import compare
from edge_tl.device.errors import BadInput
from edge_tl.device.machine import identity
from edge_tl.device.metrics import wilson_interval
from edge_tl.device.records.bench import MethodRecord
from edge_tl.device.records.timing import LatencyRecord
from edge_tl.host.comparison import page as pages
from edge_tl.host.comparison import pipeline as comparison
from edge_tl.host.comparison import plot, study
from edge_tl.host.comparison.combinations import Grid
from edge_tl.host.comparison.pareto import Budget
from edge_tl.host.comparison.record import ComparedTrial, ComparisonRecord, GridRecord, TimingRecord
from edge_tl.host.recipe import load as recipes

REPOSITORY = Path(__file__).parents[2]
MODELS = "mobilenet_v3_small,resnet18"  # the embedded weights are the first one's
OPTIONS = ["--models", MODELS, "--weights", "embedded", "--image-size", "64", "--epochs", "1"]
GOOD = ["mobilenet_v3_small-head", "mobilenet_v3_small-lp-ft-lr0.004"]
BAD = ["resnet18-head", "resnet18-lp-ft-lr0.004"]
MAIN = "from edge_tl import cli; cli.main()"


@dataclass(frozen=True)
class Compared:
    """The folder of a finished comparison, its command, and what its two processes printed."""

    out: Path
    command: list[str]
    results: list[dict[str, Any]]
    notes: list[str]


@pytest.fixture(scope="module")
def compared(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    """Two processes, started together, on one folder."""
    out = tmp_path_factory.mktemp("compared") / "digits"
    command = [
        "compare",
        str(images),
        *OPTIONS,
        "--strategies",
        "head,lp-ft",
        "--lrs",
        "4e-3",
        "--out",
        str(out),
    ]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", MAIN, *command, "--json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            env=environment,
        )
        for _ in range(2)
    ]
    said = [worker.communicate(timeout=600) for worker in workers]
    # Two of the four trials fail: everything is saved, and the exit code says that not all went well.
    assert [worker.returncode for worker in workers] == [1, 1], said
    return Compared(out, command, [json.loads(out) for out, _ in said], [err for _, err in said])


@pytest.fixture
def copied(compared: Compared, tmp_path: Path) -> list[str]:
    """The command again, on a copy of the folder: everything is trained and timed already."""
    shutil.copytree(compared.out, tmp_path / "digits")
    return [*compared.command[:-1], str(tmp_path / "digits")]


def test_two_processes_share_the_trials_and_say_the_same(compared: Compared) -> None:
    first, second = compared.results
    assert first == second
    assert [trial["name"] for trial in first["trials"]] == GOOD + BAD
    trained = [name for err in compared.notes for name in re.findall(r"^trial \d of 4: (\S+)", err, re.M)]
    assert sorted(set(trained)) == sorted(GOOD + BAD)
    # What failed may be tried again by the process that came later; nothing is trained twice.
    assert sorted(name for name in trained if name in GOOD) == GOOD


def test_the_result_says_everything_a_choice_needs(compared: Compared) -> None:
    result = compared.results[0]
    head, tuned, *failed = result["trials"]
    record = json.loads((compared.out / "trials" / GOOD[1] / "run.json").read_text())
    assert tuned["accuracy"] == record["metrics"]["accuracy"]
    assert (tuned["split"], tuned["n"], tuned["epochs"], head["epochs"]) == ("test", 18, 1, None)
    assert (head["lr"], tuned["lr"]) == (None, 0.004)
    assert head["latency_ms"] == tuned["latency_ms"]
    assert set(head["latency_ms"]) >= {"p50", "p90", "p99", "n"}
    assert head["latency_ms"]["p50"] > 0
    artifact = compared.out / "timed" / "mobilenet_v3_small-64x64.onnx"
    assert head["size_mb"] == artifact.stat().st_size / 1e6
    assert {trial["state"] for trial in failed} == {"failed"}
    assert all("Use --model mobilenet_v3_small" in trial["reason"] for trial in failed)
    assert result["pick"] in GOOD
    assert result["front"] or result["not_judged"], "this machine may be busy"
    assert result["budget"] == {"max_latency_ms": None, "min_accuracy": None}
    assert f"next: edge-tl export {compared.out / 'trials' / result['pick']} --int8" in compared.notes[0]


def test_the_folder_holds_record_page_and_picture(compared: Compared) -> None:
    record = json.loads((compared.out / "compare.json").read_text())
    assert record["machine"] == identity().to_json()
    assert record["trials"] == compared.results[0]["trials"]
    page = (compared.out / "compare.html").read_text()
    assert GOOD[0] in page
    assert "Use --model mobilenet_v3_small" in page
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page)
    picture = ET.parse(compared.out / "compare.svg").getroot()
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert compared.results[0]["pick"] in "".join(picture.itertext())


def test_the_same_command_again_trains_and_times_nothing(
    copied: list[str], run_cli: Callable[..., Any]
) -> None:
    timed = (Path(copied[-1]) / "timed" / "bench.json").read_bytes()
    done = run_cli(*copied)
    assert done.code == 1, done.err  # resnet18's trials failed
    assert re.findall(r"^trial \d of 4: (\S+)", done.err, re.M) == BAD  # what failed, and nothing else
    assert (Path(copied[-1]) / "timed" / "bench.json").read_bytes() == timed
    heading, _, *rows = done.out.splitlines()
    assert heading.split()[:3] == ["model", "strategy", "lr"]
    assert sum(row.startswith("mobilenet_v3_small") for row in rows) >= 2
    assert any(row.endswith("pick") for row in rows)
    assert f"failed: {BAD[0]}, {BAD[1]}: --weights embedded" in done.out


def test_a_budget_that_nothing_keeps_ends_in_1_with_everything_saved(
    copied: list[str], run_cli: Callable[..., Any]
) -> None:
    done = run_cli(*copied, "--max-latency-ms", "0.0001", "--json")
    assert done.code == 1, done.err
    assert done.json["pick"] is None
    assert done.json["nearest"]
    assert done.json["budget"]["max_latency_ms"] == 0.0001
    assert json.loads((Path(copied[-1]) / "compare.json").read_text())["pick"] is None
    page = (Path(copied[-1]) / "compare.html").read_text()
    assert "No trial keeps the budget (at most 0.0001 ms)" in page


def test_a_trial_left_behind_is_reported_and_resumed_when_asked(
    images: Path, copied: list[str], run_cli: Callable[..., Any]
) -> None:
    out, grid = Path(copied[-1]), Grid(("mobilenet_v3_small",), ("head",))
    recipe = recipes.parse(recipes.read_settings(out / "trials" / GOOD[0] / "recipe.yaml"))
    grid_study = study.open_study(grid, {GOOD[0]: recipe}, out, study.StudyOptions(name="killed"))
    study.queue_trials(grid_study, resumed=False)
    taken = study.next_trial(grid_study)
    assert taken is not None
    taken[2].release()  # as the system does when a process dies
    options = [*OPTIONS[2:], "--strategies", "head", "--study", "killed", "--out", str(out)]
    command = ["compare", str(images), "--models", "mobilenet_v3_small", *options]
    done = run_cli(*command)
    assert done.code == 2
    assert f"{GOOD[0]} was left behind" in done.err
    assert "Add --resume" in done.err
    done = run_cli(*command, "--resume", "--json")
    assert done.code == 0, done.err
    assert done.json["pick"] == GOOD[0]


def test_a_folder_of_something_else_is_refused(copied: list[str], run_cli: Callable[..., Any]) -> None:
    (Path(copied[-1]) / "thesis.tex").write_text("")
    done = run_cli(*copied)
    assert done.code == 2
    assert "thesis.tex" in done.err


def test_other_settings_in_the_same_folder_are_refused(
    copied: list[str], run_cli: Callable[..., Any]
) -> None:
    done = run_cli(*copied, "--seed", "7")
    assert done.code == 2
    assert "trained with seed = 0, and this asks for 7" in done.err


def test_nothing_but_failures_ends_in_2_with_the_first_reason(
    images: Path, run_cli: Callable[..., Any]
) -> None:
    models = ("--models", "resnet18,mobilenet_v3_small", "--weights", "absent.pth")
    done = run_cli("compare", images, *models, "--strategies", "full", "--out", "out")
    assert done.code == 2
    assert "no trial succeeded; the first, resnet18-full: " in done.err
    assert "absent.pth" in done.err


@pytest.mark.parametrize("name", ["bogus", "timm:bogus"])
def test_a_name_of_no_model_is_refused_before_the_others_train(
    images: Path, run_cli: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    done = run_cli(
        "compare", images, "--models", f"mobilenet_v3_small,{name}", "--strategies", "head", "--out", "out"
    )
    assert done.code == 2
    assert "bogus" in done.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--lrs", "fast"], "--lrs fast: numbers"),
        (["--lrs", "-1"], "train.lr"),
        (["--models", " , "], "--models"),
        (["--strategies", "haed"], "strategy"),
        (["--weights", "vgg16=none"], "vgg16 is not among the models"),
        (["--max-latency-ms", "0"], "--max-latency-ms 0"),
        (["--min-accuracy", "90"], "for 90 % give 0.9"),
        (["--trials", "0"], "--trials 0"),
    ],
)
def test_bad_options_are_named(run_cli: Callable[..., Any], options: list[str], said: str) -> None:
    done = run_cli("compare", "images", "--out", "out", *options)
    assert done.code == 2
    assert said in done.err
    assert "Traceback" not in done.err


def test_weights_are_for_one_model_or_for_all(tmp_path: Path) -> None:
    models = ["resnet18", "mobilenet_v3_small"]
    given = ["mobilenet_v3_small=embedded", "imagenet"]
    assert compare._weights(given, models) == ({"mobilenet_v3_small": "embedded"}, "imagenet")
    odd = tmp_path / "a=b.safetensors"
    odd.write_bytes(b"")
    assert compare._weights([str(odd)], models) == ({}, str(odd))
    with pytest.raises(BadInput):
        compare._weights(["vgg=none"], models)


def trial(name: str, model: str, right: int, latency: float | None, n: int = 200) -> ComparedTrial:
    ms = None if latency is None else LatencyRecord(p50=latency, p90=latency, n=100)
    return ComparedTrial(
        name=name, model=model, strategy="full", lr=0.1, state="complete", reason=None,
        trained="full", epochs=3, accuracy=right / n, split="val", n=n,
        val_accuracy=right / n, n_val=n, seconds=1.0, latency_ms=ms, size_mb=1.0,
        interval=wilson_interval(right, n),
    )  # fmt: skip


def record(rows: list[ComparedTrial], budget: Budget) -> ComparisonRecord:
    choice = comparison.choose_trial(rows, budget)
    return ComparisonRecord(
        name="c", study="s", trials=tuple(replace(row, front=row.name in choice.front) for row in rows),
        front=choice.front, pick=choice.pick, runner_up=choice.runner_up, faster=choice.faster,
        nearest=choice.nearest, budget=budget, weights={}, versions={}, seed=0, recipe={},
        grid=GridRecord(models=(), strategies=(), lrs=(), trials=1),
        machine=identity(),
        timing=TimingRecord(method=MethodRecord(), conditions=None, ran={}, unmeasured={}),
    )  # fmt: skip


def test_a_record_is_read_as_it_was_written() -> None:
    found = record([trial("a", "a", 181, 1.0), trial("b", "b", 182, None)], Budget(5.0))
    assert ComparisonRecord.from_json(json.loads(json.dumps(found.to_json(), allow_nan=False))) == found
    damaged = found.to_json()
    damaged["trials"][1]["val_accuracy"] = 1.5
    with pytest.raises(BadInput, match=r"compare\.json: trials\[1\]\.val_accuracy: 1\.5"):
        ComparisonRecord.from_json(damaged)


def test_a_miss_names_the_nearest_on_each_side() -> None:
    rows = [
        trial("a", "a", 120, 1.0),
        trial("b", "b", 150, 4.0),
        trial("c", "c", 190, 9.0),
        trial("d", "d", 195, 20.0),
    ]
    found = record(rows, Budget(5.0, 0.9))
    assert found.pick is None
    assert found.nearest == ("c", "b")
    text = pages.sentence(found)
    assert text == (
        "No trial keeps the budget (at most 5 ms, at least 90 %). "
        "Nearest: c: 95.00 % at 9.00 ms; b: 75.00 % at 4.00 ms."
    )


def test_on_a_busy_machine_no_latency_decides() -> None:
    """Equally accurate: not the one that seemed faster but the smaller one, and no word of which is faster."""
    rows = [replace(trial("a", "a", 180, 1.0), size_mb=9.0), replace(trial("b", "b", 180, 4.0), size_mb=2.0)]
    assert comparison.choose_trial(rows, Budget()).pick == "a"
    choice = comparison.choose_trial(rows, Budget(), "this machine is busy (x)")
    assert (choice.pick, choice.front, choice.faster) == ("b", (), None)
    assert comparison.choose_trial(rows, Budget(2.0), "busy").pick == "a", (
        "what keeps a budget beside others keeps it"
    )
    assert comparison.choose_trial(rows, Budget(0.5), "busy").nearest == ("a",)
    found = replace(record(rows, Budget()), pick="b", runner_up=choice.runner_up, front=(), faster=None)
    found = replace(found, not_judged=choice.not_judged)
    assert pages.sentence(found) == "b: 90.00 % in 2.00 MB."
    said = " ".join(pages.remarks(found))
    assert "Latency not judged: this machine is busy (x)" in said
    assert "the pick is the smaller one" in said
    assert " ms" not in said
    assert "faster" not in said
    assert ComparisonRecord.from_json(found.to_json()) == found


def test_noise_is_called_noise() -> None:
    close = record([trial("a", "a", 181, 1.0), trial("b", "b", 182, 4.0)], Budget())
    assert close.pick == "b"
    assert "not significantly better than the runner-up, a" in " ".join(pages.remarks(close))
    distinct = record([trial("a", "a", 120, 1.0), trial("b", "b", 190, 4.0)], Budget())
    assert pages.remarks(distinct) == []


def test_only_the_best_trial_of_a_model_is_named_and_no_two_names_meet() -> None:
    rows = [trial(f"m{m}-{i}", f"m{m}", 150 + 5 * m + i, 4.0 + 0.05 * m) for m in range(5) for i in range(6)]
    drawn = plot.draw_comparison(record(rows, Budget(5.0, 0.8)))
    assert drawn is not None
    texts = re.findall(r'<text[^>]*?x="([\d.]+)" y="([\d.]+)"[^>]*>(m\d[^<]*)</text>', drawn)
    assert sorted(name for *_, name in texts) == ["m0", "m1", "m2", "m3", "m4-5"]
    places = [(float(x), float(y)) for x, y, _ in texts]
    apart = [
        abs(ay - by) >= 10 or abs(ax - bx) >= 15 for i, (ax, ay) in enumerate(places) for bx, by in places[:i]
    ]
    assert all(apart)
    ET.fromstring(plot.standalone(drawn))


def test_without_a_latency_there_is_no_picture(tmp_path: Path) -> None:
    found = record([trial("a", "a", 120, None)], Budget())
    assert found.pick == "a"
    (tmp_path / "compare.svg").write_text("old")
    assert not pages.write_comparison_plot(found, tmp_path / "compare.svg")
    assert not (tmp_path / "compare.svg").exists()
