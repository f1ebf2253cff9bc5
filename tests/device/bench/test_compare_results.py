"""Saved results side by side: ratios where they mean something, words where they do not, and the gate."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from edge_tl.device.bench import compare_results
from edge_tl.device.bench.compare_results import percent
from edge_tl.device.bench.percentiles import summarize
from edge_tl.device.errors import BadInput
from edge_tl.device.records.bench import SCHEMA, BenchResult

MACHINE = {"cpu": "A", "arch": "x", "os": "Linux", "cores_allowed": 2, "isa": ["avx2"]}


def compare(results: list[tuple[str, dict[str, Any]]], **options: Any) -> dict[str, Any]:
    """Of results and as JSON, as they are read and written."""
    read = [(name, BenchResult.from_json(each)) for name, each in results]
    return compare_results.compare_results(read, **options).to_json()


def result(
    seed: int, ms: float = 10.0, *, rounds: int = 7, names: tuple[str, ...] = ("onnx-fp32",)
) -> dict[str, Any]:
    """A result with process luck of 0.5 %."""
    rng = np.random.default_rng(seed)
    rows = []
    for name in names:
        blocks = [
            (1e6 * ms * luck * rng.lognormal(0, 0.02, 20)).astype(np.int64)
            for luck in np.repeat(rng.lognormal(0, 0.005, rounds), 5)
        ]
        rows.append(
            {
                "id": name,
                "latency_ms": summarize(np.concatenate(blocks)).to_json(),
                "ran": {"runtime": "onnxruntime 1", "device": "CPU", "precision": "fp32", "threads": 2},
                "samples_ns": [block.tolist() for block in blocks],
                "block_round": [int(r) for r in np.repeat(np.arange(rounds), 5)],
            }
        )
    return {
        "schema": SCHEMA,
        "kind": "latency",
        "date": f"2026-01-{seed + 1:02d}T00:00:00+00:00",
        "machine": copy.deepcopy(MACHINE),
        "method": {"batch": 1},
        "bundle": {name: ["abc"] for name in names},
        "artifacts": rows,
    }


def test_the_same_speed_is_not_distinguishable() -> None:
    found = compare([("a", result(0)), ("b", result(1))])
    base, other = found["rows"]
    assert found["base"] == "a"
    assert (base["is_base"], base["slowdown"]) == (True, None)
    low, high = other["slowdown_ci"]
    assert low <= 1 <= high
    assert other["distinguishable"] is False
    assert other["changed"] == []
    assert (found["passed"], found["gates"]) == (True, [])


@pytest.mark.parametrize(
    ("ms", "passed", "words"),
    [
        (10.0, True, "within 5 %"),
        (10.3, True, "within 5 %"),
        (10.5, True, "not proven beyond 5 %"),
        (11.0, False, "beyond 5 % even at the lower end"),
        (5.0, True, "within 5 %"),
    ],
)
def test_the_gate_fails_on_what_is_proven(ms: float, passed: bool, words: str) -> None:
    found = compare([("a", result(0)), ("b", result(1, ms))], fail_if_slower=0.05)
    (gate,) = found["gates"]
    assert gate["judged"]
    assert found["passed"] is gate["passed"] is passed
    assert words in gate["reason"]
    assert found["rows"][1]["slowdown"] == pytest.approx(ms / 10, rel=0.02)


def test_each_artifact_has_its_own_gate() -> None:
    slow = result(1, names=("x", "y"))
    slow["artifacts"][1] = result(2, 12.0, names=("y",))["artifacts"][0]
    found = compare([("a", result(0, names=("x", "y"))), ("b", slow)], fail_if_slower=0.05)
    assert {g["artifact"]: g["passed"] for g in found["gates"]} == {"x": True, "y": False}
    assert not found["passed"]


def test_another_machine_is_shown_and_decides_nothing() -> None:
    other = result(1, 20.0)
    other["machine"]["cpu"] = "B"
    found = compare([("a", result(0)), ("b", other), ("c", result(2))], fail_if_slower=0.05)
    assert [row["same_machine"] for row in found["rows"]] == [True, False, True]
    assert [gate["judged"] for gate in found["gates"]] == [False, True]
    assert "another machine" in found["gates"][0]["reason"]
    assert found["passed"]
    assert found["rows"][1]["slowdown"] == pytest.approx(2, rel=0.02)


def test_a_gate_that_can_decide_nothing_is_refused() -> None:
    other = result(1)
    other["machine"]["cpu"] = "B"
    for results in (
        [("a", result(0)), ("b", other)],
        [("a", result(0))],
        [("a", result(0)), ("b", result(1, names=("z",)))],
        [("a", result(0, rounds=2)), ("b", result(1))],
    ):
        with pytest.raises(BadInput, match="nothing could be compared"):
            compare(results, fail_if_slower=0.05)


def test_what_else_changed_is_said() -> None:
    other = result(1)
    other["bundle"]["onnx-fp32"] = ["def"]
    other["artifacts"][0]["ran"] |= {"threads": 1, "runtime": "onnxruntime 2"}
    other["method"]["batch"] = 4
    row = compare([("a", result(0)), ("b", other)])["rows"][1]
    assert row["changed"] == [
        "another model file",
        "runtime onnxruntime 1 -> onnxruntime 2",
        "threads 2 -> 1",
        "batch 1 -> 4",
    ]


def test_one_result_alone_is_a_table() -> None:
    found = compare([("a", result(0))])
    assert len(found["rows"]) == 1
    assert found["passed"]


def test_the_same_file_twice_is_compared_too() -> None:
    same = result(0)
    found = compare([("a", same), ("a", same)], fail_if_slower=0.0)
    assert [row["is_base"] for row in found["rows"]] == [True, False]
    assert found["rows"][1]["slowdown"] == pytest.approx(1)


def run_of(due: list[int], end: list[int]) -> dict[str, Any]:
    """A run that kept its rate: every call was kept and began when it was due."""
    return {
        "intended_ns": due, "start_ns": due, "end_ns": end, "every": 1, "arrivals": len(due), "calls": len(end),
        "missed": 0, "waited_ns": 0, "longest_ns": 0,
    }  # fmt: skip


def runs(seed: int, ms: float, fps: float, rounds: int = 3) -> list[dict[str, Any]]:
    """What a process a round answers at a pace that it keeps: 40 images, each late by about `ms`."""
    rng = np.random.default_rng(seed)
    due = [int(i * 1e9 / fps) for i in range(40)]
    late = [
        (1e6 * ms * rng.lognormal(0, 0.005) * rng.lognormal(0, 0.02, 40)).astype(int) for _ in range(rounds)
    ]
    return [run_of(due, [int(d + n) for d, n in zip(due, lates, strict=True)]) for lates in late]


def paced(seed: int, ms: float, fps: float) -> dict[str, Any]:
    done = runs(seed, ms, fps)
    late = np.concatenate([np.array(run["end_ns"]) - np.array(run["intended_ns"]) for run in done])
    ms_of_all = summarize(late).to_json()
    return {
        "fps": fps, "n": 120, "latency_ms": ms_of_all, "service_ms": ms_of_all,
        "queue_ms": {"mean": 0.0, "longest": 0.0}, "deadline_ms": None, "missed": 0, "unserved": 0,
        "idle_penalty": None, "idle_penalty_ci": None, "runs": done,
    }  # fmt: skip


def at_pace(
    seed: int, ms: float = 12.0, *, fps: float = 10.0, load: int = 0, loaded_ms: float = 15.0
) -> dict[str, Any]:
    """A result of `--fps`, with `--load` where given: back to back always 10 ms."""
    made = result(seed, rounds=3)
    made |= {"kind": "pace", "method": {"batch": 1, "fps": fps, "load": load}}
    (row,) = made["artifacts"]
    row["samples_ns"], row["block_round"] = row["samples_ns"][::5], [0, 1, 2]
    row["paced"] = paced(seed, ms, fps)
    if load:
        row["loaded"] = {
            "neighbours": load,
            "latency_ms": row["latency_ms"],
            "samples_ns": [[2 * ns for ns in block] for block in row["samples_ns"]],
            "paced": paced(seed, loaded_ms, fps),
            **dict.fromkeys(("slowdown", "slowdown_ci", "slowdown_mean", "slowdown_mean_ci")),
            "every": 1,
        }
    return made


def test_a_paced_regression_fails_though_the_calls_back_to_back_are_as_fast() -> None:
    found = compare([("a", at_pace(0)), ("b", at_pace(1, 36.0))], fail_if_slower=0.05)
    assert {gate["figure"]: gate["passed"] for gate in found["gates"]} == {"latency": True, "paced": False}
    assert not found["passed"]
    row = next(row for row in found["rows"] if row["figure"] == "paced" and not row["is_base"])
    assert row["slowdown"] == pytest.approx(3, rel=0.05)
    assert row["latency_ms"]["p50"] == pytest.approx(36, rel=0.05), "from the moment an image was due"
    assert "onnx-fp32, 10 a second, in b takes" in found["gates"][1]["reason"]


def test_a_regression_beside_load_alone_fails() -> None:
    slow = at_pace(1, load=2, loaded_ms=60.0)
    found = compare([("a", at_pace(0, load=2)), ("b", slow)], fail_if_slower=0.05)
    passed = {gate["figure"]: gate["passed"] for gate in found["gates"]}
    assert passed == {"latency": True, "paced": True, "loaded": True, "loaded paced": False}
    slow["artifacts"][0]["loaded"]["samples_ns"] = [[10**9] * 20] * 3
    found = compare([("a", at_pace(0, load=2)), ("b", slow)], fail_if_slower=0.05)
    assert not {gate["figure"]: gate["passed"] for gate in found["gates"]}["loaded"]


def test_another_rate_or_load_is_named_and_decides_nothing() -> None:
    new = at_pace(1, 90.0, fps=30, load=4)
    found = compare([("a", at_pace(0, load=2)), ("b", new)], fail_if_slower=0.05)
    said = {gate["figure"]: (gate["judged"], gate["reason"]) for gate in found["gates"]}
    assert said["latency"][0]
    assert said["paced"] == (False, "onnx-fp32, 30 a second, in b was timed otherwise: fps 10 -> 30")
    assert said["loaded"][0] is said["loaded paced"][0] is False
    row = next(row for row in found["rows"] if row["figure"] == "loaded paced" and not row["is_base"])
    assert row["changed"] == ["load 2 -> 4", "fps 10 -> 30"]
    assert found["passed"]


def test_results_of_two_kinds_prove_nothing() -> None:
    for pair in ((result(0), at_pace(1)), (at_pace(0), result(1))):
        with pytest.raises(BadInput, match=r"nothing could be compared: .*timed otherwise: kind \w+ -> \w+"):
            compare([("a", pair[0]), ("b", pair[1])], fail_if_slower=0.05)
    found = compare([("a", at_pace(0)), ("b", result(1))])
    assert found["rows"][-1]["changed"] == ["kind pace -> latency"]
    assert [gap["reason"] for gap in found["missing"]] == ["onnx-fp32, 10 a second, is not in b"]
    noise = result(1, 20.0) | {"kind": "noise"}
    assert not compare([("a", result(0)), ("b", noise)], fail_if_slower=0.05)["passed"], (
        "timed in the same way"
    )


def lasting(seed: int, last_ms: float) -> dict[str, Any]:
    """A result of `--minutes 1`, 10 ms in the first half and `last_ms` in the second."""
    made = result(seed, rounds=1)
    made |= {"kind": "pace", "method": {"batch": 1, "fps": None, "minutes": 1.0, "load": 0}}
    begin = [int(i * 0.1e9) for i in range(600)]
    end = [ns + int(1e6 * (10 if ns < 30e9 else last_ms)) for ns in begin]
    run = run_of(begin, end)
    late = np.array(end[300:]) - np.array(begin[300:])
    made["artifacts"][0]["sustained"] = {
        "minutes": 1.0, "neighbours": 0, "window_s": 30.0, "first": summarize(late).to_json(),
        "last": summarize(late).to_json(), "run": run, "readings": [],
        "sensors": dict.fromkeys(("clock_mhz", "temperature_c", "throttled", "throttle_events", "power_w")),
    }  # fmt: skip
    return made


def test_the_end_of_a_long_run_is_a_row_and_one_process_no_proof() -> None:
    results = [("a", lasting(0, 11.0)), ("b", lasting(1, 33.0))]
    row = compare(results)["rows"][-1]
    assert (row["figure"], row["how"]) == ("sustained", "last 30 s of 1 min")
    assert row["slowdown"] == pytest.approx(3)
    assert row["slowdown_ci"] is None
    with pytest.raises(BadInput, match=r"nothing could be compared: .*fewer than 3 rounds"):
        compare(results, fail_if_slower=0.05)


def in_parts(seed: int, ms: float, rate: float) -> dict[str, Any]:
    """A result of `--batch 1,4 --throughput`; the plain bench beside them always 10 ms."""
    made, swept = result(seed), result(seed + 50, ms)["artifacts"][0]
    name = swept.pop("id")
    sweep = [{**swept, "artifact": name, "batch": batch, "asked_threads": None} for batch in (1, 4)]
    rounds = [rate, rate * 1.001, rate * 0.999]
    through = {
        "artifact": name,
        "batch": 1,
        "images_per_s": rate,
        "rounds": rounds,
        "ran": swept["ran"],
    }
    return made | {"kind": "parts", "sweep": sweep, "throughput": [through]}


def test_sweeps_and_throughput_have_gates_too() -> None:
    found = compare([("a", in_parts(0, 10, 100)), ("b", in_parts(1, 20, 80))], fail_if_slower=0.05)
    passed = {gate["figure"]: gate["passed"] for gate in found["gates"]}
    assert passed == {"latency": True, "sweep batch 1": False, "sweep batch 4": False, "throughput": False}
    row = found["rows"][-1]
    assert (row["slowdown"], row["images_per_s"]) == (pytest.approx(1.25, rel=0.01), 80)


def test_what_no_row_shows_is_named() -> None:
    split = result(1)
    steps = ("decode", "preprocess", "inference", "postprocess", "whole")
    split["artifacts"][0]["parts"] = dict.fromkeys(steps, split["artifacts"][0]["latency_ms"])
    found = compare([("a", result(0)), ("b", split | {"kind": "parts"})])
    assert found["not_compared"] == ["steps, cold start and memory in b"]
    assert found["rows"][1]["changed"] == ["kind latency -> parts"]


def test_an_artifact_that_vanished_is_named_by_the_gate() -> None:
    base, less, none = result(0, names=("x", "y")), result(1, names=("x",)), result(2, names=())
    found = compare([("a", base), ("b", less)], fail_if_slower=0.05)
    assert [(g["artifact"], g["judged"]) for g in found["gates"]] == [("x", True), ("y", False)]
    assert found["gates"][1]["reason"] == "y is not in b"
    assert not found["passed"], "nobody knows how slow y has become"
    with pytest.raises(BadInput, match="nothing could be compared: x is not in b"):
        compare([("a", base), ("b", none)], fail_if_slower=0.05)
    less["machine"]["cpu"] = "B"
    assert compare([("a", base), ("b", less)])["missing"] == [], "another machine may have other runtimes"


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("5", 0.05), (" 2.5 %", 0.025), ("0%", 0.0)])
def test_percentages(text: str, value: float) -> None:
    assert percent(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "five", "-5%", "nan", "5%%", "inf"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(BadInput, match="--fail-if-slower"):
        percent(text)


def test_a_result_of_a_busy_machine_is_not_judged() -> None:
    """Three times the time, and no proof of anything: others used the cores. The gate passes and says so."""
    busy = result(1, 30.0)
    used = {"others": 1.9, "stolen": 0.0, "cores": 2}
    busy["conditions"] = {"before": {}, "after": {}, "during": used}
    found = compare([("a", result(0)), ("b", busy)], fail_if_slower=0.05)
    row = found["rows"][1]
    assert row["slowdown"] is row["slowdown_ci"] is row["distinguishable"] is None
    assert row["not_judged"] == "in b this machine is busy (other programs used 1.9 of 2 cores)"
    (gate,) = found["gates"]
    assert (gate["judged"], gate["passed"], found["passed"]) == (False, True, True)
    assert "busy" in gate["reason"]
    assert not compare([("a", result(0)), ("b", result(1, 30.0))], fail_if_slower=0.05)["passed"]
