"""Saved results side by side: ratios where they mean something, words where they do not, and the gate."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from edge_tl.target.errors import BadInput
from edge_tl.target.timing.across import compare, percent
from edge_tl.target.timing.bench import SCHEMA
from edge_tl.target.timing.percentiles import summarize

MACHINE = {"cpu": "A", "arch": "x", "os": "Linux", "cores_allowed": 2, "isa": ["avx2"]}


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
                "latency_ms": summarize(np.concatenate(blocks)),
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


def test_the_same_speed_is_not_told_apart() -> None:
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


def test_another_machine_is_shown_and_not_judged() -> None:
    other = result(1, 20.0)
    other["machine"]["cpu"] = "B"
    found = compare([("a", result(0)), ("b", other), ("c", result(2))], fail_if_slower=0.05)
    assert [row["same_machine"] for row in found["rows"]] == [True, False, True]
    assert [gate["judged"] for gate in found["gates"]] == [False, True]
    assert "another machine" in found["gates"][0]["reason"]
    assert found["passed"]
    assert found["rows"][1]["slowdown"] == pytest.approx(2, rel=0.02)


def test_a_gate_that_can_judge_nothing_is_refused() -> None:
    other = result(1)
    other["machine"]["cpu"] = "B"
    for results in (
        [("a", result(0)), ("b", other)],
        [("a", result(0))],
        [("a", result(0)), ("b", result(1, names=("z",)))],
        [("a", result(0, rounds=2)), ("b", result(1))],
    ):
        with pytest.raises(BadInput, match="nothing could be judged"):
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


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("5", 0.05), (" 2.5 %", 0.025), ("0%", 0.0)])
def test_percentages(text: str, value: float) -> None:
    assert percent(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "five", "-5%", "nan", "5%%", "inf"])
def test_what_is_no_percentage(text: str) -> None:
    with pytest.raises(BadInput, match="--fail-if-slower"):
        percent(text)
