"""Budgets of an application: each kept, missed, or not judged, and never silently."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device import budgets, junit
from edge_tl.device.budgets import Budgets, Where, check_budgets
from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.records.budgets import BudgetsResult
from edge_tl.device.records.gate import GateResult
from edge_tl.device.records.timing import ConditionsRecord, LoadRecord, SkippedRecord, UsageRecord

Edit = Callable[..., None]


def gates_of(result: BudgetsResult) -> dict[tuple[str, str], GateResult]:
    return {(gate.gate, gate.unit): gate for gate in result.gates}


def test_without_a_budget_it_is_the_gates_of_the_best_artifact(bundle_root: Path) -> None:
    result = check_budgets(read_bundle(bundle_root), Budgets())
    assert result.passed
    assert result.artifact == read_bundle(bundle_root).record.recommended
    assert set(gates_of(result)) == {("pixels", "levels"), ("device", "logit"), ("loss", "agreement")} or all(
        gate.passed for gate in result.gates
    )
    assert result.latency_ms is None
    assert BudgetsResult.from_json(result.to_json(), "it") == result


def test_a_size_and_a_latency_that_are_kept_and_missed(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    size = bundle.artifact("onnx-fp32").record.size_mb
    kept = check_budgets(bundle, Budgets(max_size_mb=size, max_p95_ms=1e6), where=Where("onnx-fp32"))
    found = gates_of(kept)
    assert found["size", "MB"].passed  # the limit is inclusive
    assert found["speed", "ms"].passed
    assert found["speed", "ms"].measured == kept.latency_ms.p95  # type: ignore[union-attr]
    assert kept.passed
    missed = check_budgets(bundle, Budgets(max_size_mb=size / 2), where=Where("onnx-fp32"))
    assert not missed.passed
    assert gates_of(missed)["size", "MB"].passed is False


def test_late_on_a_busy_machine_is_not_judged_and_not_kept(
    bundle_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle, timed = read_bundle(bundle_root), budgets._time

    def busy(used: float) -> Callable[..., Any]:
        load = LoadRecord()
        during = ConditionsRecord(load, load, UsageRecord(used, 0.0, 2.0))
        return lambda *given: replace(timed(*given), conditions=during)

    for used, limit, passed, judged in (
        (1.9, 1e-6, None, False),
        (0.0, 1e-6, False, True),
        (1.9, 1e6, True, True),
    ):
        monkeypatch.setattr(budgets, "_time", busy(used))
        result = check_budgets(bundle, Budgets(max_p95_ms=limit), where=Where("onnx-fp32"))
        gate = gates_of(result)["speed", "ms"]
        assert (gate.passed, gate.judged) == (passed, judged)
        assert result.passed is (passed is True)
        assert passed is not None or "--wait-quiet" in gate.reason


def test_the_drop_of_the_export_against_another_budget(bundle_root: Path, reseal: Edit) -> None:
    def lost(record: dict[str, Any]) -> None:
        for artifact in record["artifacts"]:
            artifact |= {"drop_pp": 0.4, "drop_ci_pp": [-0.1, 0.9]}

    reseal(bundle_root, lost)
    bundle = read_bundle(bundle_root)
    for limit, passed in ((0.4, True), (0.3, False)):
        gate = gates_of(check_budgets(bundle, Budgets(max_drop_pp=limit), where=Where("onnx-int8")))[
            "loss", "pp"
        ]
        assert (gate.passed, gate.measured, gate.limit) == (passed, 0.4, limit)
        assert "[-0.10, 0.90]" in gate.reason


def test_a_drop_that_nobody_measured_is_not_kept(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    assert bundle.artifact("onnx-int8").record.drop_pp is None
    result = check_budgets(bundle, Budgets(max_drop_pp=0.5), where=Where("onnx-int8"))
    assert gates_of(result)["loss", "pp"].passed is None
    assert not result.passed


def test_the_drop_on_a_folder_is_measured_here(bundle_root: Path, labelled: Path) -> None:
    bundle = read_bundle(bundle_root)
    result = check_budgets(bundle, Budgets(max_drop_pp=100), where=Where("onnx-int8"), data=labelled)
    gate = gates_of(result)["loss", "pp"]
    assert gate.passed
    assert str(labelled) in gate.reason
    with pytest.raises(BadInput):
        check_budgets(bundle, Budgets(), data=labelled / "none")


def test_what_failed_at_export_fails_here(bundle_root: Path, reseal: Edit) -> None:
    def failed(record: dict[str, Any]) -> None:
        record["recommended"] = "onnx-fp32"
        record["gates"] = [
            {
                "gate": "loss",
                "artifact": "onnx-int8",
                "measured": 3.0,
                "limit": 0.5,
                "unit": "pp",
                "passed": False,
            }
            | {"reason": "accuracy drop", "judged": True}
        ]
        for artifact in record["artifacts"]:
            artifact["passed"] = artifact["id"] != "onnx-int8"

    reseal(bundle_root, failed)
    bundle = read_bundle(bundle_root)
    assert check_budgets(bundle, Budgets()).passed
    result = check_budgets(bundle, Budgets(), where=Where("onnx-int8"))
    assert not result.passed
    assert any(gate.reason == "at export: accuracy drop" for gate in result.gates)


@pytest.mark.parametrize(
    "wrong", [{"max_p95_ms": 0}, {"max_size_mb": -1}, {"max_drop_pp": 101}, {"max_p95_ms": float("nan")}]
)
def test_a_budget_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="--max"):
        Budgets(**wrong)


def test_junit_counts_what_ci_servers_count(bundle_root: Path) -> None:
    result = check_budgets(read_bundle(bundle_root), Budgets())
    gates = tuple(
        GateResult("speed", 'a"\x1b<&', 1.0, 1.0, "ms", passed, 'late\x00 <">', judged)
        for passed, judged in ((True, True), (False, True), (None, False), (True, False))
    )
    suites = ET.fromstring(junit.junit(replace(result, gates=gates, passed=False)))
    suite = suites.find("testsuite")
    assert suite is not None
    counts = {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "1", "errors": "1", "skipped": "1"}
    cases = suite.findall("testcase")
    assert [[child.tag for child in case] for case in cases] == [
        ["system-out"],
        ["failure"],
        ["error"],
        ["skipped"],
    ]
    assert cases[1].find("failure").get("message") == 'late\\x00 <">'  # type: ignore[union-attr]


def proven(*rows: tuple[str, float]) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        for artifact in record["artifacts"]:
            artifact |= {"drop_pp": rows[0][1], "drop_ci_pp": [-0.1, 9.0]}
            artifact["proven_on"] = [
                {"isa": isa, "cap": None, "drop_pp": drop, "drop_ci_pp": [-0.1, 9.0]} for isa, drop in rows
            ]

    return change


@pytest.mark.parametrize(("isa", "measured"), [("avx2", 6.0), ("avx512_vnni", 0.1), ("dotprod", None)])
def test_the_drop_is_that_of_the_instructions_of_this_cpu(
    bundle_root: Path, reseal: Edit, monkeypatch: pytest.MonkeyPatch, isa: str, measured: float | None
) -> None:
    reseal(bundle_root, proven(("avx512_vnni", 0.1), ("avx2", 6.0)))
    monkeypatch.setattr(budgets, "int8_isa", lambda: isa)
    result = check_budgets(read_bundle(bundle_root), Budgets(max_drop_pp=0.5), where=Where("onnx-int8"))
    gate = gates_of(result)["loss", "pp"]
    assert gate.measured == measured
    assert result.passed is (measured == 0.1)
    assert measured is not None or "--data" in gate.reason


def test_a_budget_does_not_forgive_what_failed_under_other_instructions(
    bundle_root: Path, reseal: Edit
) -> None:
    def failed(record: dict[str, Any]) -> None:
        record["recommended"] = "onnx-fp32"
        rest = {
            "gate": "loss",
            "artifact": "onnx-int8",
            "limit": 0.5,
            "unit": "pp",
            "passed": False,
            "judged": True,
        }
        record["gates"] = [rest | {"measured": m, "reason": f"drop {m}"} for m in (0.7, 6.0)]
        for artifact in record["artifacts"]:
            artifact |= {"passed": artifact["id"] != "onnx-int8", "drop_pp": 0.7, "drop_ci_pp": [0.1, 1.0]}

    reseal(bundle_root, failed)
    bundle = read_bundle(bundle_root)
    for limit, reasons in ((1.0, {"at export: drop 6.0"}), (7.0, set())):
        result = check_budgets(bundle, Budgets(max_drop_pp=limit), where=Where("onnx-int8"))
        assert {gate.reason for gate in result.gates if gate.reason.startswith("at export:")} == reasons
        assert result.passed is not bool(reasons)


def test_what_did_not_run_is_not_kept(
    bundle_root: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The FP32 artifact that stands in for PyTorch ran, and that is all."""
    real = budgets.gates.verify

    def without(bundle: Any, **how: Any) -> Any:
        found = real(bundle, **how | {"artifacts": ["onnx-fp32"]})
        return replace(
            found, skipped=(SkippedRecord(artifact="onnx-int8", reason="openvino is not installed"),)
        )

    monkeypatch.setattr(budgets.gates, "verify", without)
    result = check_budgets(read_bundle(bundle_root), Budgets(), where=Where("onnx-int8"), data=labelled)
    assert not result.passed
    assert any("openvino is not installed" in gate.reason for gate in result.gates)


def test_an_undecided_drop_is_not_kept(
    bundle_root: Path, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = budgets.gates.verify

    def undecided(bundle: Any, **how: Any) -> Any:
        found = real(bundle, **how)
        more = GateResult("loss", "onnx-int8", 10.0, 0.5, "pp", True, "so few cannot tell", False)
        return replace(found, gates=(*(g for g in found.gates if g.unit != "pp"), more))

    monkeypatch.setattr(budgets.gates, "verify", undecided)
    result = check_budgets(read_bundle(bundle_root), Budgets(), where=Where("onnx-int8"), data=labelled)
    assert not result.passed
    assert gates_of(result)["loss", "pp"].passed is None


def test_junit_is_xml_whatever_a_bundle_is_called(bundle_root: Path) -> None:
    result = check_budgets(read_bundle(bundle_root), Budgets())
    named = replace(result, bundle="a\uffff\x0bb", warnings=("\ufffe",))
    suites = ET.fromstring(junit.junit(named))
    assert suites.find(".//property[@name='bundle']").get("value") == "a\\uffff\\x0bb"  # type: ignore[union-attr]
