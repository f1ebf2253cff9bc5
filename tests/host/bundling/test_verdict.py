"""Verdicts: what is recommended, why, and that a record says what its figures say."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tl.host.bundling import verdict


def artifact(
    name: str, passed: bool, p50: float, faster: float, interval: list[float] | None
) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": name, "precision": name.split("-")[1], "passed": passed, "latency_ms": {"p50": p50},
        "drop_pp": 0.25, "drop_ci_pp": [-0.5, 1.0], "speedup": 3.0,
    }  # fmt: skip
    return row | ({"faster_than_fp32": faster, "faster_than_fp32_ci": interval} if "int8" in name else {})


IDS = ["onnx-fp32", "openvino-fp32", "onnx-int8", "openvino-int8"]
RATIO = st.floats(0.1, 5)
ROWS = st.lists(
    st.builds(
        lambda passed, p50, ratio, low, known: (passed, p50, ratio, [min(low, ratio), ratio + 1] if known else None),
        st.booleans(), RATIO, RATIO, RATIO, st.booleans(),
    ),
    min_size=4, max_size=4,
)  # fmt: skip


@settings(deadline=None)
@given(ROWS, st.booleans())
def test_int8_that_is_not_provably_faster_is_never_recommended(rows: list[Any], int8: bool):
    artifacts = [artifact(name, *row) for name, row in zip(IDS[: 4 if int8 else 2], rows, strict=False)]
    best, words = verdict.recommend(artifacts, "onnx-fp32")
    quick = [
        a for a in artifacts
        if a["passed"] and a["precision"] == "int8" and (a["faster_than_fp32_ci"] or [a["faster_than_fp32"]])[0] > 1
    ]  # fmt: skip
    pool = quick or [a for a in artifacts if a["passed"] and a["precision"] == "fp32"]
    if not pool:
        assert best is None
        assert words.startswith("ship none of these")
        return
    assert best in {a["id"] for a in pool}
    assert (
        min(a["latency_ms"]["p50"] for a in pool)
        == next(a for a in pool if a["id"] == best)["latency_ms"]["p50"]
    )
    assert words.startswith(f"ship {best}: accuracy drop 0.25 pp [-0.50, 1.00], 3.0x PyTorch's speed")
    assert ("INT8 is not worth" in words) == (int8 and not quick)


def test_the_reason_for_recommending_nothing_is_named():
    failed = [artifact(name, False, 1, 9, [8, 10]) for name in IDS]
    assert "no artifact passed its gates" in verdict.recommend(failed, "onnx-fp32")[1]
    only = [artifact(name, "int8" in name, 1, 0.9, [0.8, 1.1]) for name in IDS]
    assert "only INT8 passed" in verdict.recommend(only, "onnx-fp32")[1]


def test_the_shared_record_says_what_its_figures_say(exported: dict[str, Any]):
    rows = {a["id"]: a for a in exported["artifacts"]}
    assert exported["passed"] == all(gate["passed"] for gate in exported["gates"])
    for name, row in rows.items():
        mine = [gate for gate in exported["gates"] if gate["artifact"] in (name, None)]
        assert {gate["gate"] for gate in mine} == {"pixels", "device", "loss", "speed"}
        assert row["passed"] == all(gate["passed"] for gate in mine)
        assert row["reasons"] == [gate["reason"] for gate in mine if not gate["passed"]]
        ms = row["latency_ms"]
        assert (ms["p99"] is None) == (ms["n"] < 662), "a percentile that the count does not support"
        assert row["limits"]["max_drop_pp"] == 0.5
        assert row["drop_ci_pp"][0] <= row["drop_pp"] <= row["drop_ci_pp"][1]
    recommended = rows.get(exported["recommended"])
    assert recommended is None or recommended["passed"]
    if recommended and recommended["precision"] == "int8":
        assert recommended["faster_than_fp32_ci"][0] > 1
