"""A heat map as a picture: over the upright image, where the model's input lay on it. Reads and writes no file.

The colours are viridis (Smith and van der Walt, 2015), which people with any colour vision see in the same order, and a
grey print too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from edge_tl.device.explain.heatmaps import ClassHeatmap
from edge_tl.device.images.caption import caption_font, fitting_text

Box = tuple[float, float, float, float]

_LONGEST, _SHORTEST = 1024, 320  # sides of the picture: what a screen shows, and what a caption needs
_VIRIDIS = (
    (68, 1, 84), (72, 40, 120), (62, 73, 137), (49, 104, 142), (38, 130, 142),
    (31, 158, 137), (53, 183, 121), (109, 205, 89), (180, 222, 44), (253, 231, 37),
)  # fmt: skip
_OVER = 0.55  # of the colour over the grey image
_STRIPES = 12  # pixels from one stripe to the next
_PAPER, _INK, _PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)


def heatmap_picture(
    image: Image.Image,
    heatmap: ClassHeatmap,
    box: Box,
    caption: str | None = None,
    *,
    side: int | None = None,
) -> Image.Image:
    """`image`, upright and RGB, in grey, with the map from its least (dark) to its greatest value (yellow) over `box`:
    left, top, right and bottom of the model's input in pixels of the image, see `Preprocess.input_box`. What the model
    did not see is dark and striped. Its longer side has `side` pixels, by default as many as a screen shows. With a
    `caption` there is a strip below that holds it and says how to read that."""
    scale = side / max(image.size) if side else _scale(image.size)
    shown = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    values, seen = _spread(heatmap.values, shown.size, tuple(edge * scale for edge in box))
    grey = np.asarray(shown.convert("L"), np.float32)[..., None]
    mixed = np.where(seen[..., None], (1 - _OVER) * grey + _OVER * _colours(values), 0.3 * grey)
    stripes = (np.add.outer(np.arange(shown.height), np.arange(shown.width)) % _STRIPES < 2) & ~seen
    mixed[stripes] = 0.5 * mixed[stripes] + 60
    picture = Image.fromarray(mixed.round().clip(0, 255).astype(np.uint8))
    return picture if caption is None else _with_caption(picture, caption, everything=bool(seen.all()))


def _scale(size: tuple[int, int]) -> float:
    """To a side that a screen shows; a small image is enlarged."""
    longest = max(size)
    return min(_LONGEST, max(longest, _SHORTEST)) / longest


def _spread(
    values: NDArray[np.float32], size: tuple[int, int], box: tuple[float, ...]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The map, from 0 to 1, at every pixel of a picture of `size`, bilinear between the middles of its cells; and which
    of the pixels lie in `box`."""
    least, most = float(values.min()), float(values.max())
    found = (values - least) / (most - least) if most > least else np.zeros_like(values)
    seen = []
    for axis, (side, start, end) in enumerate(((size[1], box[1], box[3]), (size[0], box[0], box[2]))):
        cells = found.shape[axis]
        middles = np.arange(side) + 0.5
        place = np.clip((middles - start) / (end - start) * cells - 0.5, 0, cells - 1)
        low = np.minimum(place.astype(int), max(cells - 2, 0))
        share = (place - low).astype(np.float32).reshape((-1, 1) if axis == 0 else (1, -1))
        high = np.minimum(low + 1, cells - 1)
        found = (1 - share) * found.take(low, axis) + share * found.take(high, axis)
        seen.append((middles >= start) & (middles < end))
    return found, np.logical_and.outer(*seen)


def _colours(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """`(h, w, 3)` of values from 0 to 1."""
    anchors = np.array(_VIRIDIS, np.float32)
    place = values * (len(anchors) - 1)
    return np.stack([np.interp(place, np.arange(len(anchors)), band) for band in anchors.T], -1)


def _with_caption(picture: Image.Image, caption: str, *, everything: bool) -> Image.Image:
    size = max(12, min(22, picture.width // 28))
    margin, bar = size // 2, size * 6
    line = size + margin
    whole = Image.new("RGB", (picture.width, picture.height + 2 * line + margin), _PAPER)
    whole.paste(picture)
    draw = ImageDraw.Draw(whole)
    top = picture.height + margin
    draw.text(
        (margin, top),
        fitting_text(caption, picture.width - 2 * margin, caption_font(size)),
        _INK,
        caption_font(size),
    )
    ramp = _colours(np.linspace(0, 1, bar, dtype=np.float32)[None]).repeat(size * 2 // 3, 0)
    top += line
    whole.paste(Image.fromarray(ramp.round().astype(np.uint8)), (margin, top + size // 5))
    said = "yellow: speaks for it" + ("" if everything else ", striped: not seen")
    left = 2 * margin + bar
    font = caption_font(size * 4 // 5)
    draw.text((left, top), fitting_text(said, picture.width - left - margin, font), _PALE, font)
    return whole
