"""A copy of an image with its answer written below it. Classifies nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from PIL import Image, ImageDraw

from edge_tl.device.errors import BadInput
from edge_tl.device.files import check_can_make
from edge_tl.device.format import percentage
from edge_tl.device.images.caption import caption_font, fitting_text, is_drawable
from edge_tl.device.predictions.stems import FreeStems
from edge_tl.device.records.prediction import Prediction
from edge_tl.device.text import printable

_NARROWEST = 320  # pixels that a line of text needs
_TALL = 4 * _NARROWEST  # a narrow image is enlarged until it is this high; the rest of the width is paper
_LARGEST = 65_500  # pixels on a side of a JPEG file
_MOST_LINES = 100
_PAPER, _INK, _PALE = (255, 255, 255), (20, 20, 20), (110, 110, 110)
_QUALITY = 90  # of the JPEG file


def check_annotated_folder(folder: Path) -> None:
    """Raises `BadInput` for a folder that holds something already, and for a file."""
    shown = printable(str(folder))
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--annotated {shown}: a file is there. Give a folder.")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise BadInput(f"--annotated {shown}: it is not empty. Give a new folder.")
    except OSError as error:
        raise BadInput(f"--annotated {shown}: {error.strerror}. Give another folder.") from None
    check_can_make(folder, "--annotated")


def annotated_picture(image: Image.Image, one: Prediction, labels: Sequence[str]) -> Image.Image:
    """`image`, upright and RGB, at its own size, the best labels in a strip below it: at most 100. A narrow image is
    enlarged or stands on paper 320 pixels wide, one that JPEG has no room for is made smaller. A label whose letters
    the font lacks is "class N", its place in `labels` counted from 1."""
    size = max(12, min(40, image.width // 28))
    margin, line = size // 2, size + size // 2
    lines = one.top[:_MOST_LINES]
    strip = len(lines) * line + margin
    image = _scaled(image, _LARGEST - strip)
    width = max(image.width, _NARROWEST)
    whole = Image.new("RGB", (width, image.height + strip), _PAPER)
    whole.paste(image)
    draw = ImageDraw.Draw(whole)
    for place, score in enumerate(lines):
        known = is_drawable(score.label) or score.label not in labels
        name = score.label if known else f"class {labels.index(score.label) + 1}"
        said = fitting_text(
            f"{name}  {percentage(score.probability, 1)}", width - 2 * margin, caption_font(size)
        )
        top = image.height + margin + place * line
        draw.text((margin, top), said, _PALE if place else _INK, caption_font(size))
    return whole


def _scaled(image: Image.Image, highest: int) -> Image.Image:
    scale = min(_LARGEST / image.width, highest / image.height)
    if scale >= 1:
        scale = max(1.0, min(_NARROWEST / image.width, _TALL / image.height))
    if scale == 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def write_annotated(picture: Image.Image, file: Path) -> None:
    """As JPEG, whole or not at all. Raises `OSError`."""
    # Not by mkstemp, whose files are private: the mask that others get is the process's, and threads write here.
    scratch = file.with_name(f".{uuid4().hex}")
    try:
        with scratch.open("xb") as stream:
            picture.save(stream, "JPEG", quality=_QUALITY)
        os.replace(scratch, file)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


class CopyNames:
    """A file in `folder` for every image: its own name, and a number where another image has that name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stems = FreeStems()

    def of(self, one: Prediction) -> Path:
        """For the next image."""
        if one.frame is not None:
            return self.folder / f"frame-{one.frame:06d}.jpg"
        stem = "stdin" if one.image in (None, "-") else Path(str(one.image)).stem
        return self.folder / f"{self._stems.take(stem)}.jpg"
