"""Maps of an opened bundle: by the method of its record, refused without one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_tl.device.bundle import Bundle, read_bundle, write_record
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.explain.heatmaps import Explainer
from edge_tl.device.explain.occlusion import CELLS, occlusion
from edge_tl.device.records.heatmap import HeatmapMethod, HeatmapRecord
from edge_tl.device.runtimes.null import NullRuntime


def recorded(root: Path, method: HeatmapMethod, *only: str) -> Bundle:
    """The bundle whose artifacts, or `only` some, say that they have maps."""
    record = read_bundle(root).record
    heatmap = HeatmapRecord(method, (8, 8))
    artifacts = tuple(
        replace(each, heatmap=heatmap) if not only or each.id in only else each for each in record.artifacts
    )
    write_record(root, replace(record, artifacts=artifacts))
    return read_bundle(root)


def test_the_map_of_the_answer(bundle_root: Path) -> None:
    bundle = recorded(bundle_root, "cam")
    image = bundle.golden_pixels()[0]
    with bundle.open("onnx-fp32") as model:
        found = Explainer(model).explain(image, "cat")
        assert found.values.shape == (8, 8)
        logit = model.runtime(image[None])[0, model.labels.index("cat")]
    assert found.values.mean() == pytest.approx(logit, abs=1e-4)
    assert (found.label, found.method) == ("cat", "cam")


def test_a_bundle_without_a_record_of_maps_is_to_be_exported_again(bundle_root: Path) -> None:
    with (
        read_bundle(bundle_root).open("onnx-fp32") as model,
        pytest.raises(BadInput, match=r"onnx-fp32 .* no record of heat maps\. Export the run again"),
    ):
        Explainer(model)


def test_another_artifact_is_named_where_it_has_maps(bundle_root: Path) -> None:
    with (
        recorded(bundle_root, "cam", "onnx-int8").open("onnx-fp32") as model,
        pytest.raises(BadInput, match="--artifact onnx-int8"),
    ):
        Explainer(model)


class Bright:
    """A model of which logit 1 is the brightness of the pixels of one square."""

    name, version, device, threads, precision = "bright", "0", "CPU", 1, "fp32"

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        score = inputs[:, :, 8:12, 2:6].sum((1, 2, 3))
        return np.stack([np.zeros_like(score), score], 1)


def test_covering_the_square_that_decides_is_what_counts() -> None:
    image = np.ones((1, 3, 16, 16), np.float32)
    found = occlusion(Bright(), image, 1)
    assert found.shape == (CELLS, CELLS)
    y, x = np.unravel_index(found.argmax(), found.shape)
    assert y in (4, 5)
    assert x in (1, 2)
    assert found[0, 7] == 0
    assert (image == 1).all()  # the caller's stays as it is


def test_a_model_that_answers_no_numbers_has_no_map(bundle_root: Path) -> None:
    bundle = recorded(bundle_root, "occlusion")

    class Broken(NullRuntime):
        def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.full((len(inputs), 3), np.nan, np.float32)

    with bundle.open("onnx-fp32") as model:
        model._runtime = Broken(3)
        with pytest.raises(BundleError, match="NaN"):
            Explainer(model).explain(bundle.golden_pixels()[0], "cat")
