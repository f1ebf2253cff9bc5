"""The heat map of an image for one class, by the method that the artifact's record names. Draws nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.explain.occlusion import occlusion
from edge_tl.device.explain.positions import Positions, open_positions
from edge_tl.device.model import Model
from edge_tl.device.records.heatmap import HeatmapMethod, HeatmapRecord
from edge_tl.device.text import printable

_NAMES: dict[HeatmapMethod, str] = {
    "cam": "class-activation maps",
    "head-per-position": "the head at every position",
    "occlusion": "what covering a part takes from the score",
}


@dataclass(frozen=True)
class ClassHeatmap:
    """`values`, float32 `(h, w)`, large where the image speaks for `label`; only their order and their differences mean
    something."""

    label: str
    values: NDArray[np.float32]
    method: HeatmapMethod


class Explainer:
    """Makes the heat maps of an opened `model`. `device` says where: class-activation maps are made on the CPU,
    whatever the model runs on, by the same artifact; for occlusion the model itself is asked."""

    def __init__(self, model: Model) -> None:
        """Raises `BadInput` for an artifact without heat maps."""
        self.model, self.method = model, heatmap_record(model).method
        self._positions: Positions | None = None
        if self.method != "occlusion":
            self._positions = open_positions(model.artifact.path)
            if self._positions is None:
                raise BundleError(
                    f"{printable(model.bundle.root)}: its record says that {model.artifact.id} has class-activation "
                    "maps, and its file has none. Do not use this bundle."
                )
        self.device = model.runtime.device if self._positions is None else "CPU"

    @property
    def said(self) -> str:
        """How the maps are made, for a person."""
        return f"{_NAMES[self.method]}, on {self.device}"

    def explain(self, image: NDArray[np.float32], label: str) -> ClassHeatmap:
        """For the model's input, float32 `(3, H, W)`, and one of its labels. Raises `BundleError` where the map holds
        anything but numbers."""
        place = self.model.labels.index(label)
        if self._positions is None:
            values = occlusion(self.model.runtime, image[None], place)
        else:
            values = self._positions(image[None])[0][..., place]
        if not np.isfinite(values).all():
            raise BundleError(
                f"{printable(self.model.bundle.root)}: a heat map of {self.model.artifact.id} holds NaN or infinity. "
                "Export again."
            )
        return ClassHeatmap(label, values, self.method)


def heatmap_record(model: Model) -> HeatmapRecord:
    """Of the artifact that is open. Raises `BadInput` where it has none."""
    record = model.artifact.record
    if record.heatmap is not None:
        return record.heatmap
    others = [each.id for each in model.bundle.artifacts if each.record.heatmap is not None]
    again = " with --input both" if record.takes_pixels else ""
    advice = f"Name another: --artifact {others[0]}." if others else f"Export the run again{again}."
    why = "takes raw pixels and has no heat maps" if record.takes_pixels else "has no record of heat maps"
    raise BadInput(f"--explain: {record.id} of {printable(model.bundle.root)} {why}. {advice}")
