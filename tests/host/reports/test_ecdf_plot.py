"""The distribution of latencies: its steps against scipy's, its marks at the percentiles of the record."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from host.reports.samples import bundle, sample
from scipy.stats import ecdf

from edge_tl.device.bench.percentiles import summarize
from edge_tl.device.machine import identity
from edge_tl.device.records.bench import ArtifactTiming, BenchResult, MethodRecord
from edge_tl.device.records.timing import RanRecord
from edge_tl.host.reports.ecdf_plot import MOST_STEPS, ecdf_plot, sorted_ms, steps

RAN = RanRecord(device="CPU", precision="fp32", threads=1)


def timing(name: str, calls: int, seed: int, scale: float = 1e6) -> ArtifactTiming:
    """Log-normal calls in five rounds."""
    ns = (np.random.default_rng(seed).lognormal(0, 0.3, (5, calls // 5)) * scale).astype(np.int64)
    blocks = tuple(tuple(int(value) for value in block) for block in ns)
    latency = summarize(ns.reshape(-1))
    rounds = tuple(range(5))
    return ArtifactTiming(id=name, latency_ms=latency, ran=RAN, samples_ns=blocks, block_round=rounds)


def bench(*rows: ArtifactTiming) -> BenchResult:
    machine = identity()
    return BenchResult(
        kind="latency",
        date="2026-01-01T00:00:00+00:00",
        machine=machine,
        method=MethodRecord(),
        artifacts=rows,
    )


@pytest.mark.parametrize("calls", [5, 105, 400, 5000])
def test_the_steps_are_the_empirical_distribution(calls: int) -> None:
    ordered = sorted_ms(timing("x", calls, calls))
    x, y = steps(ordered)
    wanted = ecdf(ordered).cdf
    below, at = wanted.evaluate(np.nextafter(x[1:], 0)), wanted.evaluate(x[1:])
    assert ((below < y[1:]) & (y[1:] <= at + 1e-12)).all()  # of equal calls each is a step of its own
    assert (x[0], y[0], x[-1], y[-1]) == (ordered[0], 0, ordered[-1], 1)
    assert len(x) <= MOST_STEPS + 1


def test_the_marks_are_the_records_percentiles_and_only_those_that_are_supported() -> None:
    record = replace(bundle(sample("bundle")), recommended="onnx-int8")
    many, few = timing("onnx-int8", 700, 1), timing("pytorch", 100, 2, 2e7)
    drawn = ecdf_plot(record, bench(few, many))
    assert drawn is not None
    said = re.search(r"<desc[^>]*>(.*?)</desc>", drawn)
    assert said
    assert f"p99 {many.latency_ms.p99:.2f} ms" in said[1]
    assert said[1].count("p99") == said[1].count("p95") == 1  # 100 calls support no p95
    assert "onnx-int8 ✓" in drawn
    assert 'role="img"' in drawn


def test_an_axis_that_holds_a_hundred_times_is_logarithmic() -> None:
    """Else the faster one's line would lie at 0."""
    record = bundle(sample("bundle"))
    drawn = ecdf_plot(record, bench(timing("pytorch", 100, 2, 1e8), timing("onnx-int8", 100, 1, 1e6)))
    assert drawn is not None
    ticks = [float(text) for text in re.findall(r">([\d.]+)</text>", drawn)]
    assert {1.0, 10.0, 100.0} <= set(ticks)


def test_no_samples_no_drawing() -> None:
    record = bundle(sample("bundle"))
    empty = ArtifactTiming(
        id="onnx-int8", latency_ms=summarize(np.array([1])), ran=RAN, samples_ns=(), block_round=()
    )
    assert ecdf_plot(record, None) is None
    assert ecdf_plot(record, bench(empty)) is None
