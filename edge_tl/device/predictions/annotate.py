"""A copy of an image with its answer written below it. Classifies nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from edge_tl.device.errors import BadInput
from edge_tl.device.format import percentage
from edge_tl.device.images.caption import caption_font, fitting_text, is_drawable
from edge_tl.device.records.prediction import Prediction
from edge_tl.device.text import printable

_NARROWEST = 320  # pixels that a line of text needs
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


def annotated_picture(image: Image.Image, one: Prediction, labels: Sequence[str]) -> Image.Image:
    """`image`, upright and RGB, at its own size (a narrow one is enlarged), the best labels in a strip below it. A
    label whose letters the font lacks is "class N", its place in `labels` counted from 1."""
    if image.width < _NARROWEST:
        scale = _NARROWEST / image.width
        image = image.resize((_NARROWEST, max(1, round(image.height * scale))))
    size = max(12, min(40, image.width // 28))
    margin, line = size // 2, size + size // 2
    whole = Image.new("RGB", (image.width, image.height + len(one.top) * line + margin), _PAPER)
    whole.paste(image)
    draw = ImageDraw.Draw(whole)
    for place, score in enumerate(one.top):
        known = is_drawable(score.label) or score.label not in labels
        name = score.label if known else f"class {labels.index(score.label) + 1}"
        said = fitting_text(
            f"{name}  {percentage(score.probability, 1)}", image.width - 2 * margin, caption_font(size)
        )
        top = image.height + margin + place * line
        draw.text((margin, top), said, _PALE if place else _INK, caption_font(size))
    return whole


def write_annotated(picture: Image.Image, file: Path) -> None:
    """As JPEG, whole or not at all. Raises `OSError`."""
    scratch = file.with_name(f".{file.name}")
    picture.save(scratch, "JPEG", quality=_QUALITY)
    os.replace(scratch, file)


class CopyNames:
    """A file in `folder` for every image: its own name, and a number where another image has that name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._taken: set[str] = set()  # two names may be one to a file system
        self._next: Counter[str] = Counter()

    def of(self, one: Prediction) -> Path:
        """For the next image."""
        if one.frame is not None:
            return self.folder / f"frame-{one.frame:06d}.jpg"
        stem = "stdin" if one.image in (None, "-") else Path(str(one.image)).stem
        name = stem
        while name.casefold() in self._taken:
            self._next[stem.casefold()] += 1
            name = f"{stem}-{self._next[stem.casefold()] + 1}"
        self._taken.add(name.casefold())
        return self.folder / f"{name}.jpg"
