"""Accuracy against latency: the front against the definition, the intervals against the record."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from host.reports.samples import bundle, sample

from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.timing import LatencyRecord
from edge_tl.host.reports.front_plot import front_plot


def measured(figures: dict[str, tuple[float, float]], reference: tuple[float, float]) -> BundleRecord:
    """Artifacts by id with (accuracy, milliseconds), in the sample's bundle."""
    base = bundle(sample("bundle"))
    some = base.artifacts[0]
    artifacts = tuple(
        replace(
            some, id=name, accuracy=accuracy, drop_ci_pp=(-1.0, 2.0), latency_ms=LatencyRecord(p50=ms, n=100)
        )
        for name, (accuracy, ms) in figures.items()
    )
    latency = LatencyRecord(p50=reference[1], n=100)
    own = replace(base.reference, accuracy=reference[0], n=1000, latency_ms=latency)
    return replace(base, artifacts=artifacts, reference=own, recommended=None)


def said(record: BundleRecord) -> str:
    drawn = front_plot(record)
    assert drawn is not None
    found = re.search(r"<desc[^>]*>(.*?)</desc>", drawn)
    assert found
    return found[1]


@pytest.mark.parametrize("seed", range(5))
def test_on_the_front_is_what_nothing_beats(seed: int) -> None:
    generator = np.random.default_rng(seed)
    figures = {
        f"onnx-{i}": (int(generator.integers(900, 960)) / 1000, float(generator.integers(1, 60)))
        for i in range(6)
    }
    text = said(measured(figures, (0.95, 50.0)))
    everyone = {**figures, "PyTorch": (0.95, 50.0)}
    for name, (accuracy, ms) in everyone.items():
        beaten = any(a >= accuracy and t <= ms and (a, t) != (accuracy, ms) for a, t in everyone.values())
        each = next(part for part in text.split("; ") if part.startswith(f"{name}:"))
        assert ("on the front" in each) is not beaten, each


def test_artifacts_a_hundred_times_as_fast_are_apart() -> None:
    """With a linear axis that holds PyTorch's, all of them lay at 0."""
    record = measured({"onnx-fp32": (0.9, 1.0), "onnx-int8": (0.9, 2.0)}, (0.9, 200.0))
    drawn = front_plot(record)
    assert drawn is not None
    ticks = {float(text.replace(",", "")) for text in re.findall(r">([\d.,]+)</text>", drawn)}
    assert {1.0, 10.0, 100.0} <= ticks


def test_the_budget_is_a_line_and_its_label_stands_above_the_axes() -> None:
    drawn = front_plot(measured({"onnx-fp32": (0.9, 1.0)}, (0.9, 2.0)))
    assert drawn is not None
    assert "budget 89.00" in drawn
    where = re.search(r"<text[^>]*translate\(\S+ (\S+)\)[^>]*>budget", drawn) or re.search(
        r'<text[^>]*y="([\d.]+)"[^>]*>budget', drawn
    )
    assert where
    assert float(where[1].rstrip(")")) < 40  # the axes begin at 58


def test_one_point_alone_is_no_picture() -> None:
    record = measured({"onnx-fp32": (0.9, 1.0)}, (0.9, 2.0))
    assert front_plot(replace(record, artifacts=(replace(record.artifacts[0], latency_ms=None),))) is None


def test_names_are_text_whatever_they_hold() -> None:
    drawn = front_plot(measured({"onnx-$x_i$ <i>": (0.9, 1.0)}, (0.9, 2.0)))
    assert drawn is not None
    assert "<i>" not in drawn
    assert "$x_i$" in drawn


def test_names_of_points_close_together_do_not_meet() -> None:
    figures = {"onnx-fp32": (0.9, 19.1), "openvino-fp32": (0.9, 3.13)}
    figures |= {"onnx-int8": (0.9, 1.96), "openvino-int8": (0.9, 1.35)}
    drawn = front_plot(measured(figures, (0.9, 418.9)))
    assert drawn is not None
    found = re.findall(
        r'font-size: ([\d.]+)px;[^"]*text-anchor: (\w+)[^"]*" x="([\d.-]+)" y="([\d.-]+)"[^>]*>([\w-]+)</text>',
        drawn,
    )
    boxes = {}
    for size, anchor, x, y, text in found:
        if text in figures:
            width = 0.5 * float(size) * len(text)  # at least
            left = float(x) - {"start": 0.0, "middle": 0.5, "end": 1.0}[anchor] * width
            boxes[text] = (left, left + width, float(y) - 0.7 * float(size), float(y))
    assert boxes.keys() == figures.keys()
    for one, other in combinations(boxes.values(), 2):
        apart = one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
        assert apart, boxes
