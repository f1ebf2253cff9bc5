"""The steps of one prediction: the medians of the bench, nothing invented where it did not tell them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

pytest.importorskip("matplotlib")

from host.reports.samples import bundle, sample
from host.reports.test_ecdf_plot import bench, timing

from edge_tl.device.records.bench import ArtifactTiming, BenchResult, StepLatencies
from edge_tl.device.records.timing import LatencyRecord
from edge_tl.host.reports.stages_plot import stages_plot, stages_table


def ms(value: float | None) -> LatencyRecord:
    return LatencyRecord(p50=value, n=100, p50_ci=(0.9 * value, 1.1 * value) if value else None)


def row(name: str, *, normalize: float | None = 2.0, last: float | None = 0.5) -> ArtifactTiming:
    parts = StepLatencies(
        decode=ms(5.0),
        preprocess=ms(6.0),
        inference=ms(8.0),
        postprocess=ms(last),
        whole=ms(20.0),
        normalize=None if normalize is None else ms(normalize),
    )
    return replace(timing(name, 100, 0), parts=parts)


def result(*rows: ArtifactTiming) -> BenchResult:
    return replace(bench(*rows), kind="parts")


def test_the_bar_has_every_step_and_the_recommended_one_comes_first() -> None:
    record = replace(bundle(sample("bundle")), recommended="onnx-int8")
    found = result(row("onnx-fp32", normalize=None), row("onnx-int8"))
    table = stages_table(record, found)
    first, second = table.rows
    assert first == {
        "name": "onnx-int8 ✓",
        "decode": "5.00",
        "resize": "4.00",
        "normalize": "2.00",
        "inference": "8.00",
        "postprocess": "0.50",
        "whole": "20.00 [18.00, 22.00]",
    }
    assert (second["resize"], second["normalize"]) == (
        "6.00",
        "0.00",
    )  # an older result does not tell them apart
    drawn = stages_plot(record, found)
    assert drawn is not None
    assert "all of it 20.00 ms" in drawn
    said = re.search(r"<desc[^>]*>(.*?)</desc>", drawn)
    assert said
    assert said[1].startswith("onnx-int8 ✓: decode the file 5.00 ms, resize and crop 4.00 ms")


def test_what_was_not_timed_is_absent() -> None:
    record = bundle(sample("bundle"))
    for nothing in (None, bench(timing("onnx-int8", 100, 0)), result(row("onnx-int8", last=None))):
        assert stages_plot(record, nothing) is None
        assert not stages_table(record, nothing).rows
