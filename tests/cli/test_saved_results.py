"""The text of saved results side by side: what differs, what could not be decided, and what no row shows."""

from __future__ import annotations

from typing import Any

from edge_tl.cli import _saved_results
from edge_tl.device.records.bench_comparison import ResultsComparison

MS = {"p50": 10.0, "p90": 11.0, "p99": None, "n": 60, "p50_ci": [9.9, 10.1]}
FILE = {"date": "2026-01-01T00:00:00+00:00", "machine": "m", "kind": "latency", "load1": None}
RAN = {"device": "CPU", "precision": "fp32", "threads": 2}
GATE = {"artifact": "x", "figure": "latency", "file": "b", "limit": 0.05}

MISSING = {"artifact": "y", "figure": None, "reason": "y is not in b", "file": "b", "number": 1}


def row(number: int, figure: str = "latency", how: str = "back to back", **fields: Any) -> dict[str, Any]:
    made = {
        "artifact": "x", "figure": figure, "how": how, "number": number, "is_base": not number, "in_base": True,
        "latency_ms": MS, "images_per_s": None, "file": "ab"[number], "ran": RAN, "alike": True,
        "same_machine": True, "changed": [],
        "slowdown": 1.0 if number else None, "slowdown_ci": [0.9, 1.1] if number else None,
        "distinguishable": False if number else None,
    }  # fmt: skip
    return made | fields


def found(*rows: dict[str, Any], gates: tuple[dict[str, Any], ...] = (), **fields: Any) -> ResultsComparison:
    files = [FILE | {"file": "a"}, FILE | {"file": "b"}]
    made = {
        "base": "a", "files": files, "rows": list(rows), "missing": [], "not_compared": [], "limit": 0.05,
        "gates": [GATE | gate for gate in gates], "passed": all(gate["passed"] for gate in gates),
    } | fields  # fmt: skip
    return ResultsComparison.from_json(made)


def test_back_to_back_alone_needs_no_column_for_it() -> None:
    text = _saved_results.compared_text(found(row(0), row(1)))
    assert "how" not in text
    assert text.endswith("1.000 [0.900, 1.100]  not distinguishable")
    assert "the ratio is by medians of processes" in text
    assert "the ratio" not in _saved_results.compared_text(found(row(0)))


def test_figures_of_one_artifact_stand_together() -> None:
    paced = ("paced", "10 a second")
    rate = {"p50": None, "p90": None, "p99": None, "n": 3}
    other = row(1, "paced", "30 a second", changed=["fps 10 -> 30"])
    through = row(
        1, "throughput", "throughput", latency_ms=rate, images_per_s=80.0, in_base=False, slowdown=None
    )
    text = _saved_results.compared_text(found(row(0), row(0, *paced), row(1), other, through))
    hows = [line[10:22].strip() for line in text.splitlines() if line.startswith("x ")]
    assert hows == ["back to back", "back to back", "10 a second", "30 a second", "throughput"]
    assert "fps 10 -> 30" in text
    assert "80.0 images/s" in text
    assert "not in the base" in text


def test_a_pass_says_how_much_is_undecided() -> None:
    decided = {"judged": True, "passed": True, "reason": "x is as fast"}
    gone = {"judged": False, "passed": True, "reason": "y is not in b"}
    text = _saved_results.compared_text(
        found(row(0), row(1), gates=(decided, gone), not_compared=["steps in b"])
    )
    assert text.splitlines()[-4:] == [
        "not compared: steps in b",
        "pass: x is as fast",
        "not judged: y is not in b",
        "PASSED: no slow-down beyond 5 % is proven. Not judged: 1, see above.",
    ]
    failed = _saved_results.compared_text(found(row(0), row(1), gates=(decided | {"passed": False}, gone)))
    assert failed.splitlines()[-1].startswith("FAILED")
    plain = _saved_results.compared_text(found(row(0), row(1), missing=[MISSING]))
    assert plain.endswith("\nnot compared: y is not in b")
