"""What export tells to type next: never what carries a failure to a device. And tables without empty columns."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

from edge_tl.cli._bundle_text import next_command
from edge_tl.cli._paced_text import paced_text
from edge_tl.device.format import DASH, percentage
from edge_tl.device.records.bench import ArtifactTiming
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.paced import LoadedRecord
from edge_tl.device.records.timing import LatencyRecord, RanRecord

STORED = Path(__file__).parents[1] / "records" / "bundle-of-version-2" / "bundle.json"


def test_what_failed_is_not_to_be_copied() -> None:
    record = BundleRecord.from_json(json.loads(STORED.read_text("utf-8")))
    folder = Path("exported/photos")
    passed = next_command(replace(record, passed=True), folder)
    assert passed.startswith("next: copy exported/photos to the device")
    some = next_command(replace(record, passed=False, recommended="onnx-fp32"), folder)
    assert "edge-tl slim exported/photos --keep onnx-fp32 --out exported/photos-passed" in some
    nothing = next_command(replace(record, passed=False, recommended=None), folder)
    assert "nothing in it is to be shipped" in nothing
    for said in (some, nothing):
        assert said.startswith("next: do not copy exported/photos")
        assert "docs/how-to/failed-gate.md" in said
        assert "next: copy" not in said


def test_a_folder_is_one_word_of_the_command() -> None:
    """Received folders may be called anything; what is printed is pasted into a shell."""
    record = BundleRecord.from_json(json.loads(STORED.read_text("utf-8")))
    folder = Path("my photos/$(touch owned)")
    passed = next_command(replace(record, passed=True), folder)
    assert passed.endswith("edge-tl verify '$(touch owned)'")
    some = next_command(replace(record, passed=False, recommended="onnx-fp32"), folder)
    words = shlex.split(some[some.index("edge-tl slim") :])
    assert words[2:] == [str(folder), "--keep", "onnx-fp32", "--out", f"{folder}-passed"]


def test_beside_load_without_a_rate_nothing_is_missed() -> None:
    """The columns of a rate were there, and empty."""
    latency = LatencyRecord(p50=1.0, p90=1.1, n=100)
    loaded = LoadedRecord(
        load=2, latency_ms=latency, slowdown=1.5, slowdown_ci=(1.4, 1.6), slowdown_mean=2.0,
        slowdown_mean_ci=(1.9, 2.1), samples_ns=((1,),), every=1, paced=None,
    )  # fmt: skip
    row = ArtifactTiming(
        id="onnx-fp32", latency_ms=latency, ran=RanRecord("CPU", "fp32", 2), samples_ns=((1,),),
        block_round=(0,), loaded=loaded,
    )  # fmt: skip
    heading = paced_text([row]).splitlines()[0]
    assert "missed" not in heading
    assert "longest wait" not in heading
    assert "x back to back" in heading


def test_a_share_is_printed_in_one_way() -> None:
    assert percentage(0.95034) == "95.03 %"
    assert percentage(0.5, 0) == "50 %"
    assert percentage(None) == DASH
