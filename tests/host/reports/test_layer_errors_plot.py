"""The noise of each layer as a line and a table; absent where nothing measured it."""

from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("matplotlib")

from host.reports.samples import bundle, sample

from edge_tl.device.records.artifact import LayerError
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.layer_errors_plot import layer_errors_plot, noise_table


def with_errors(*values: float) -> BundleRecord:
    base = bundle(sample("bundle"))
    errors = tuple(LayerError(f"features.{i} <b>", value) for i, value in enumerate(values))
    own = replace(base.artifact("onnx-int8"), layer_errors=errors or None)
    return replace(base, artifacts=(base.artifacts[0], own))


def test_every_layer_in_order_and_the_noisiest_marked() -> None:
    record = with_errors(40.0, 12.34, 30.0, -1.0, 25.0)
    table = noise_table(record)
    assert [row["sqnr"] for row in table.rows] == ["40.0", "12.3", "30.0", "-1.0", "25.0"]
    assert [row["layer"] for row in table.rows if row["mark"]] == [f"features.{i} <b>" for i in (1, 3, 4)]
    drawn = layer_errors_plot(record)
    assert drawn is not None
    assert "The noisiest: layer 4, features.3 &lt;b&gt;: -1.0 dB; layer 2" in drawn


def test_numbers_of_neighbours_do_not_meet() -> None:
    values = [40.0] * 53
    values[47], values[50], values[51] = 14.0, 13.0, 11.0
    drawn = layer_errors_plot(with_errors(*values))
    assert drawn is not None
    assert ">51, 52</text>" in drawn
    assert ">48</text>" in drawn
    assert ">51</text>" not in drawn


def test_the_record_keeps_it_in_the_report_alone() -> None:
    record = with_errors(40.0, 12.34)
    assert BundleRecord.from_json(record.to_json()) == record
    assert "layer_errors" not in str(record.for_device().to_json())


def test_nothing_measured_nothing_drawn() -> None:
    assert layer_errors_plot(with_errors()) is None
    assert layer_errors_plot(with_errors(3.0)) is None
    assert not noise_table(with_errors()).rows
