"""Confidences and instruction sets as rows of text: nothing is invented, nothing breaks on a record without them."""

from __future__ import annotations

from typing import Any

from host.reports.samples import LIMITS, bundle, bundle_markdown, unmeasured
from host.reports.test_ladder_tables import BEST

from edge_tl.host.reports import confidence_tables

PLAIN = {"temperature": 1.2345, "ece": 0.0123, "ece_before": 0.0456, "log_loss": 0.5, "log_loss_before": 0.6}
ASKED = {"asked": 0.8, "coverage": 0.7, "accuracy": 0.95, "restoring": 0.7654, "restored_coverage": 0.72}
ASKED["restored_accuracy"] = 0.94


def record(threshold: bool) -> dict[str, Any]:
    mine = PLAIN | ({"threshold": ASKED} if threshold else {})
    proven = {"accuracy": 0.9, "drop_pp": 0.5, "drop_ci_pp": [0.1, 0.9], "agreement": 0.98, "n": 1000}
    rows = [
        proven | {"isa": "avx512_vnni", "cap": None},
        proven | {"isa": "avx2", "cap": "AVX2", "drop_pp": 3.0},
    ]
    return unmeasured(
        {
            "id": "openvino-int8",
            "confidence": mine,
            "proven_on": rows,
            "limits": LIMITS | {"max_drop_pp": 5.0},
        },
        reference={"accuracy": 0.9, "n": 10, "confidence": mine},
    )


def test_confidences_with_a_threshold_and_without():
    reference, artifact = confidence_tables.confidence_table(bundle(record(True))).rows
    assert artifact == {
        "artifact": "openvino-int8", "temperature": "1.234", "ece": "4.56 → 1.23", "coverage": "70.00",
        "right": "95.00", "restoring": "0.7654", "restored": "72.00",
    }  # fmt: skip
    assert (reference["restoring"], reference["restored"]) == ("—", "—")  # it is what is restored
    assert "at least 0.8000" in confidence_tables.how_to_read_confidence(bundle(record(True)))
    assert confidence_tables.confidence_table(bundle(record(False))).rows[1]["coverage"] == "—"
    assert confidence_tables.how_to_read_confidence(bundle(record(False))) == confidence_tables.HOW


def test_every_instruction_set_has_its_row():
    over = record(False)
    over["artifacts"][0]["limits"] = LIMITS
    drops = [row["drop"] for row in confidence_tables.proven_table(bundle(over)).rows]
    assert [" over the budget" in drop for drop in drops] == [False, True]  # 0.5 keeps it, 3.0 does not
    rows = confidence_tables.proven_table(bundle(record(False))).rows
    assert [row["isa"] for row in rows] == ["avx512_vnni", "avx2 (capped by AVX2)"]
    assert rows[1]["drop"] == "3.00 [0.10, 0.90]"


def test_what_the_codes_of_a_file_prove_is_said_and_nothing_more():
    def told(**saturation: object) -> str:
        chosen = {**BEST, **saturation}
        ladder = {"passed": True, "reason": "", "chosen": chosen, "rungs": [], "sensitivity": []}
        whole = record(False)
        whole["artifacts"][0]["ladder"] = ladder
        return bundle_markdown(whole)

    proof = f"In openvino-int8 {confidence_tables.HOW_PROVEN_BY_CODES}"
    assert proof in told(may_saturate=[])
    assert confidence_tables.HOW_PROVEN in told(may_saturate=[])  # of other instructions
    for unproven in ({}, {"may_saturate": None}, {"may_saturate": ["conv_1"]}):
        assert confidence_tables.HOW_PROVEN_BY_CODES not in told(**unproven)


def test_the_report_shows_both_and_an_older_record_neither():
    text = bundle_markdown(record(True))
    assert "## Confidence" in text
    assert "## Proven on" in text
    text = bundle_markdown(unmeasured({"id": "onnx-fp32"}))
    assert "## Confidence" not in text
    assert "## Proven on" not in text
