"""Images whose answers are worth a look, as `report.json` keeps them for the page: small, with numbers of heat maps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from edge_tl.device.records.codec import Bounds, Count, Fault, Fraction, NotEmpty, Pattern, Record

MOST_PICTURES = 64

HeatmapRows = tuple[tuple[float, ...], ...]
Base64 = Annotated[str, Pattern("[A-Za-z0-9+/]{1,400000}={0,2}", "up to 300 kB in base64")]
_MOST_CELLS = 128 * 128
_Side = Annotated[int, Bounds(1, 1 << 20)]


@dataclass(frozen=True)
class AnswerPicture(Record):
    """An evaluation image, its true `label`, and what PyTorch and the `artifact` (`device`) answer with which
    probability. `size` is the upright image's, width and height; `jpeg` is it again, smaller. `heatmap` is the
    artifact's for its own answer, `pytorch_heatmap` the FP32 artifact's for PyTorch's, which is None where no answer
    changed; both are None where no map was made."""

    artifact: NotEmpty
    image: str
    label: str
    pytorch: str
    pytorch_probability: Fraction
    device: str
    device_probability: Fraction
    size: tuple[_Side, _Side]
    jpeg: Base64
    heatmap: HeatmapRows | None = None
    pytorch_heatmap: HeatmapRows | None = None

    def check(self) -> None:
        """Raises `Fault` for a map that is no rectangle of numbers, or too large."""
        for key, rows in (("heatmap", self.heatmap), ("pytorch_heatmap", self.pytorch_heatmap)):
            if rows is None:
                continue
            wide = len(rows[0]) if rows else 0
            if not 0 < wide * len(rows) <= _MOST_CELLS or any(len(row) != wide for row in rows):
                raise Fault(
                    key, f"a list of {len(rows)}", f"rows of one length, {_MOST_CELLS} numbers at most"
                )
            if not all(math.isfinite(value) for row in rows for value in row):
                raise Fault(key, "NaN or infinity", "numbers")


@dataclass(frozen=True)
class PicturesRecord(Record):
    """The images that an artifact answers wrongly with the highest probabilities (`errors`), such as one answers
    otherwise than PyTorch (`flips`): the recommended one, or INT8 where that changes no answer, and typical ones that
    the first answers right (`right`), without heat maps. `fp32` made PyTorch's heat maps."""

    fp32: NotEmpty | None = None
    errors: Annotated[tuple[AnswerPicture, ...], Count(0, MOST_PICTURES)] = ()
    flips: Annotated[tuple[AnswerPicture, ...], Count(0, MOST_PICTURES)] = ()
    right: Annotated[tuple[AnswerPicture, ...], Count(0, MOST_PICTURES)] = ()
