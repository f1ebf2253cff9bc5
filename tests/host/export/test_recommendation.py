"""The sentence at the top: every figure with its interval, the files, and where it does not hold."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.bench import machine_use
from edge_tl.device.records.accuracy import SparseConfusion
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.device.records.bundle import BundleRecord, ReferenceRecord
from edge_tl.device.records.timing import ConditionsRecord, LoadRecord, UsageRecord, WaitRecord
from edge_tl.host.export import gates
from edge_tl.host.export.recommendation import learned_nothing, recommend
from edge_tl.host.reports.markdown import bundle_markdown
from edge_tl.host.reports.sentences import timed_on

STORED = Path(__file__).parents[2] / "records" / "bundle-of-version-2"


def measured(load1: float, others: float, stolen: float) -> ConditionsRecord:
    before = LoadRecord(load1=load1)
    return ConditionsRecord(before, before, UsageRecord(others, stolen, 2.0))


QUIET, BUSY = measured(0.4, 0.05, 0.0), measured(9.0, 1.3, 0.2)


def artifact(**changes: Any) -> ArtifactRecord:
    files = [{"path": f"model.int8.{kind}", "sha256": "0" * 64, "bytes": 1000} for kind in ("xml", "bin")]
    limits = {"device_max_abs_diff": 0.01, "golden_agreement": 1.0, "max_drop_pp": 0.5}
    return ArtifactRecord.from_json({
        "id": "openvino-int8", "runtime": "openvino", "precision": "int8", "passed": True, "budgets": [],
        "files": files, "latency_ms": {"p50": 1.0},
        "drop_pp": 0.25, "drop_ci_pp": [-0.5, 1.0], "speedup": 10.6, "speedup_ci": [9.9, 11.4],
        "faster_than_fp32": 2.4, "faster_than_fp32_ci": [2.2, 2.6], "limits": limits,
    } | changes)  # fmt: skip


FP32 = artifact(
    id="onnx-fp32",
    runtime="onnxruntime",
    precision="fp32",
    latency_ms={"p50": 2.0},
    files=[{"path": "model.fp32.onnx", "sha256": "0" * 64, "bytes": 1000}],
)


def test_a_model_that_has_learned_nothing_is_named_beside_what_keeps_its_answers():
    """A training from random weights had ended at 10.2 % of ten digits, and the page said "no loss of accuracy"."""
    labels = ["three", "six"]
    guessing = ReferenceRecord(accuracy=0.55, n=100, confusion=((0, 40), (5, 55)))
    text = learned_nothing(guessing, labels)
    assert "PyTorch itself is right on 55.00 % of 100 images" in text
    assert "answering 'six' always (60.00 %)" in text
    assert learned_nothing(replace(guessing, accuracy=0.75), labels) == ""
    sparse = SparseConfusion(2, ((0, 1, 40), (1, 0, 5), (1, 1, 55)))
    assert learned_nothing(replace(guessing, confusion=sparse), labels) == text
    assert learned_nothing(ReferenceRecord(), labels) == ""


def words(best: ArtifactRecord, busy: str | None = None) -> str:
    chosen, text = recommend([FP32, best], "onnx-fp32", busy)
    assert chosen == best.id
    return text


def test_every_speed_has_its_interval_and_the_files_are_named():
    text = words(artifact())
    assert "10.6x [9.9, 11.4] PyTorch's speed, 2.4x [2.2, 2.6] the fastest FP32 artifact (onnx-fp32)." in text
    assert "model.int8.xml + model.int8.bin; they need openvino" in text
    assert "[openvino]" in text


@pytest.mark.parametrize(
    ("drop", "interval", "said"),
    [
        (0.25, [-0.5, 1.0], "accuracy drop 0.25 pp [-0.50, 1.00]"),
        (0.0, [-0.3, 0.3], "no loss of accuracy seen (drop 0.00 pp [-0.30, 0.30])"),
        (-1.96, [-3.9, 0.1], "no loss of accuracy seen: 1.96 points better than PyTorch [-0.10, 3.90]"),
    ],
)
def test_a_gain_does_not_read_as_a_loss(drop: float, interval: list[float], said: str):
    assert said in words(artifact(drop_pp=drop, drop_ci_pp=interval))
    assert "-1.96" not in words(artifact(drop_pp=drop, drop_ci_pp=interval))


def test_an_absurd_interval_is_no_speed():
    wide = words(artifact(speedup=139.5, speedup_ci=[8.56, 2275.0]))
    assert "139.5" not in wide
    assert "speed not judged: its interval is [8.6, 2,275.0], this machine is busy" in wide
    best, text = recommend(
        [FP32, artifact(faster_than_fp32=7.7, faster_than_fp32_ci=[1.1, 99.0])], "onnx-fp32"
    )
    assert best == "onnx-fp32", "an interval that wide proves nothing, wherever it begins"
    assert "is not provably faster than onnx-fp32: its interval is [1.1, 99.0]" in text
    assert "7.7" not in text


def test_a_speed_without_an_interval_is_in_no_sentence():
    assert "3.0x" not in words(artifact(speedup=3.0, speedup_ci=None))
    gate = gates._speed_gate(artifact(speedup=3.0, speedup_ci=None))
    assert (gate.passed, gate.judged, gate.measured) == (True, False, None)


def test_the_speed_gate_of_a_busy_machine_is_not_judged():
    busy = gates._speed_gate(artifact(speedup=None, speedup_ci=None, not_judged="this machine is busy (x)"))
    assert (busy.passed, busy.judged, busy.measured) == (True, False, None)
    assert busy.to_json()["judged"] is False
    assert busy.reason == "not judged: this machine is busy (x)"
    assert gates._speed_gate(artifact(speedup=0.5, speedup_ci=[0.4, 0.6])).passed is False


TAKEN = "this machine is busy (other programs used 1.3 of 2 cores, the hypervisor kept 0.2)"


def test_on_a_busy_machine_accuracy_and_size_decide():
    """No figure of a speed, and the smallest that shows no loss of accuracy; however fast it seemed."""
    assert machine_use.busy_reason(BUSY) == TAKEN
    small = artifact(
        files=[dict(path=f"model.int8.{kind}", sha256="0" * 64, bytes=400) for kind in ("xml", "bin")]
    )
    best, text = recommend([FP32, small], "onnx-fp32", TAKEN)
    assert best == "openvino-int8"
    assert "0.00 MB, the smallest that shows no loss of accuracy. Speed not judged: " + TAKEN in text
    assert (
        "this rests on accuracy and size alone. Export again when it is quiet, or with --wait-quiet 5m."
        in text
    )
    assert not re.search(r"\d ?x |times|speed-up|faster", text)
    assert text.count("busy") == 1
    lossy = replace(small, drop_pp=0.4, drop_ci_pp=(0.1, 0.7))
    whole = replace(FP32, drop_pp=0.0, drop_ci_pp=(0.0, 0.0))
    assert recommend([whole, lossy], "onnx-fp32", TAKEN).artifact == "onnx-fp32", "INT8 shows a loss"
    best, text = recommend([replace(lossy, passed=True)], None, TAKEN)
    assert "the one that loses least accuracy" in text


def test_a_budget_missed_on_a_busy_machine_says_so():
    slow = artifact(budgets=[dict(budget="p95", measured=30.0, limit=10.0, unit="ms", kept=False)])
    best, text = recommend([slow], None, TAKEN)
    assert best is None
    assert "at best 30 ms" in text
    assert "This machine is busy" in text
    assert "--wait-quiet" in text


def test_where_its_own_table_says_over_the_budget_the_sentence_does_too():
    rows = [
        {"isa": "avx512_vnni", "cap": None, "drop_pp": 0.1},
        {"isa": "avx2", "cap": "AVX2", "drop_pp": 3.1},
        {"isa": "avx512", "cap": "AVX512_CORE", "drop_pp": 0.2},
    ]
    text = words(artifact(proven_on=rows))
    assert "Not on CPUs that compute INT8 with avx2 (drop 3.10 pp): over the budget of 0.5 pp there" in text
    assert "avx512 " not in text
    assert "Not on CPUs" not in words(artifact(proven_on=rows[:1]))


def test_what_runs_anywhere_is_recommended_where_something_else_requires_instructions():
    best = artifact(requires=["vnni", "dotprod"], latency_ms={"p50": 0.5})
    anywhere = artifact(id="onnx-int8", latency_ms={"p50": 0.9})
    chosen, text = recommend([FP32, best, anywhere], "onnx-fp32")
    assert chosen == "onnx-int8"
    assert "openvino-int8 gives right answers on CPUs with vnni or dotprod alone; name it there" in text
    chosen, text = recommend([FP32, best], "onnx-fp32")
    assert chosen == "onnx-fp32"
    assert "INT8 is not worth its answers" not in text
    assert "on CPUs with vnni or dotprod alone" in text
    chosen, text = recommend([best], None)
    assert chosen == "openvino-int8"
    assert "Only on CPUs with vnni or dotprod: edge-tl refuses it on others" in text


def test_a_session_option_that_a_file_needs_is_in_the_sentence():
    option = {"session.x64quantprecision": "1"}
    assert "session option session.x64quantprecision=1 on x86 without VNNI" in words(
        artifact(session_options=option)
    )
    assert "session option" not in words(artifact())


def test_the_load_is_in_the_report():
    stored = json.loads((STORED / "bundle.json").read_text("utf-8"))
    record = BundleRecord.from_json(stored)
    busy, quiet = (str(timed_on(replace(record, conditions=known))) for known in (BUSY, QUIET))
    assert "other programs used 1.3 of 2 cores" in busy
    assert (
        "This machine is busy (other programs used 1.3 of 2 cores, the hypervisor kept 0.2): no speed is judged"
        in busy
    )
    assert "judged" not in quiet
    assert timed_on(replace(record, conditions=None)) is None
    waited = replace(BUSY, wait=WaitRecord(300.0, 300.0, False))
    assert "after 0:05:00 of waiting for a quiet machine" in str(timed_on(replace(record, conditions=waited)))
    assert "load 9.0" in bundle_markdown(replace(record, conditions=BUSY))


def test_a_machine_that_does_not_tell_is_not_called_busy():
    assert machine_use.why_not_judged([2.0, 2.5], None) is None
    assert machine_use.why_not_judged(None, ConditionsRecord(LoadRecord(), LoadRecord(), None)) is None
