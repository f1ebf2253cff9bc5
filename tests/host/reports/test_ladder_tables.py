"""What the ladder tried, as rows of text: nothing is invented, a record without a ladder has no such rows."""

from __future__ import annotations

from typing import Any

import pytest
from host.reports.samples import bundle, bundle_markdown, unmeasured

from edge_tl.device.errors import BundleError
from edge_tl.host.int8.records import LadderRecord
from edge_tl.host.reports import ladder_tables

BEST: dict[str, Any] = {
    "accuracy": 0.3812,
    "accuracy_ci": [0.371, 0.391],
    "expected_drop_pp": 0.21,
    "drop_pp": 0.25,
    "drop_ci_pp": [-0.1, 0.6],
    "agreement": 0.9123,
    "latency_ms": 1.234,
    "size_mb": 2.0,
}
BEST |= {"float_macs": 0.049, "divergence": 0.01, "seconds": 20}
BEST["settings"] = {
    "method": "Q/DQ",
    "ranges": "99.9",
    "calibration_images": 300,
    "weights": "per channel, int8",
    "elementwise": "uint8",
    "bias_correction": "logits",
    "rescaled": None,
    "in_float": [],
    "trained_epochs": 0.0,
}
WORSE = BEST | {"drop_pp": 3.0, "drop_ci_pp": [2.0, 4.0]}


def record() -> dict[str, Any]:
    rungs = [
        {
            "rung": 1,
            "name": "known-good settings",
            "minutes": 0.2,
            "candidates": [WORSE],
            "faults": [],
            "best": WORSE,
        },
        {
            "rung": 4,
            "name": "NNCF accuracy control",
            "minutes": 2,
            "candidates": [],
            "faults": ["KeyError: 'a|b'"],
        },
        {
            "rung": 5,
            "name": "training in INT8",
            "minutes": 8.04,
            "candidates": [BEST],
            "faults": [],
            "best": BEST,
        },
    ]
    layers = [{"layer": f"conv{i}", "divergence": 0.01 / (i + 1), "macs": 0.05} for i in range(20)]
    ladder = {
        "passed": True,
        "reason": "rung 5 keeps the budget",
        "chosen": BEST,
        "rungs": rungs,
        "sensitivity": layers,
    }
    return unmeasured({"id": "onnx-fp32"}, {"id": "onnx-int8", "ladder": ladder})


def test_each_rung_is_a_row_and_the_kept_one_is_marked():
    first, failed, kept = ladder_tables.rung_table(bundle(record())).rows
    assert (first["rung"], first["drop"], first["mark"]) == ("1 known-good settings", "3.00 [2.00, 4.00]", "")
    assert (failed["tried"], failed["drop"], failed["mark"]) == ("1", "—", "KeyError: 'a|b'")
    assert kept == {
        "artifact": "onnx-int8", "rung": "5 training in INT8", "tried": "1",
        "accuracy": "38.12 [37.10, 39.10]", "expected": "0.21",
        "drop": "0.25 [-0.10, 0.60]",
        "agreement": "91.2", "latency": "1.23", "size": "2.00", "float": "4.9", "minutes": "8.0", "mark": "kept",
    }  # fmt: skip


def test_the_most_sensitive_layers_come_first_and_not_all_of_them():
    rows = ladder_tables.layer_table(bundle(record())).rows
    assert len(rows) == ladder_tables.SHOWN
    assert rows[0] == {"layer": "conv0", "divergence": "10.00", "macs": "5.0"}


def test_a_record_without_a_ladder_has_no_such_section():
    without = unmeasured({"id": "onnx-int8"})
    assert (
        ladder_tables.rung_table(bundle(without)).rows
        == ladder_tables.layer_table(bundle(without)).rows
        == []
    )
    assert "ladder" not in bundle_markdown(without)
    text = bundle_markdown(record())
    assert "## The ladder to INT8" in text
    assert r"KeyError: 'a\|b'" in text


def test_the_ladder_of_a_report_is_read_strictly_and_written_as_it_was():
    ladder = record()["artifacts"][1]["ladder"]
    assert LadderRecord.from_json(ladder).to_json() == ladder
    ladder["rungs"][0]["best"]["divergence"] = "near"
    with pytest.raises(
        BundleError, match=r"rungs\[0\]\.candidates\[0\]\.divergence: 'near'\. It should be a finite number"
    ):
        LadderRecord.from_json(ladder)
    with pytest.raises(BundleError, match=r"onnx-int8: ladder: .*divergence"):
        ladder_tables.rung_table(bundle(unmeasured({"id": "onnx-int8", "ladder": ladder})))
