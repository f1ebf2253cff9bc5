"""The images that lose most to the crop, small, with the part that the model sees in a frame, as data of a page.

Bounded in bytes: a page is sent by mail. An image that cannot be read any more is left out.
"""

from __future__ import annotations

import base64
import io
from contextlib import suppress
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageEnhance

from edge_tl.device.errors import BadImage, BadInput, ReadError
from edge_tl.device.format import one_line, percentage
from edge_tl.device.images.decode import decode
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images.crop_loss import NOTICEABLE
from edge_tl.host.runs.record import RunRecord

MOST_BYTES = 200_000  # of all JPEG files; in base64 a third more
_SIDE = 200  # pixels of a thumbnail's longer side
_DIMMED = 0.35


class Thumbnail(NamedTuple):
    """A JPEG file as the address of an `<img>`, its size in pixels, what it shows and what of it is lost."""

    address: str
    width: int
    height: int
    path: str
    lost: str


def contact_sheet(record: RunRecord) -> list[Thumbnail]:
    """Of the images that lose a noticeable part, the worst first; none where none does."""
    if record.crop_loss is None:
        return []
    wanted = {image.path: image.lost for image in record.crop_loss.worst if image.lost >= NOTICEABLE}
    try:
        dataset = record.dataset()
    except BadInput:  # a damaged list of images is told where they are needed
        return []
    samples = {sample.path: sample for sample in dataset.samples if sample.path in wanted}
    sheet: list[Thumbnail] = []
    total = 0
    for path, lost in wanted.items():
        if path not in samples:
            continue
        (source,) = dataset.sources([samples[path]])
        with suppress(BadImage, ReadError):
            image = decode(source)
            content, size = _thumbnail(image, record.preprocess)
            total += len(content)
            if total > MOST_BYTES:
                break
            address = f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
            sheet.append(Thumbnail(address, *size, one_line(path), percentage(lost, 0)))
    return sheet


def _thumbnail(image: Image.Image, contract: Preprocess) -> tuple[bytes, tuple[int, int]]:
    """JPEG: what the model does not see is darker, and a line in white and black, seen on any picture, is around what
    it sees."""
    left, top, right, bottom = contract.shown(image.size)
    image.thumbnail((_SIDE, _SIDE))
    width, height = image.size
    box = (round(left * width), round(top * height), round(right * width), round(bottom * height))
    shown = image.crop(box)
    marked = ImageEnhance.Brightness(image).enhance(_DIMMED)
    marked.paste(shown, box[:2])
    draw = ImageDraw.Draw(marked)
    inside = (box[0], box[1], max(box[2] - 1, box[0]), max(box[3] - 1, box[1]))
    draw.rectangle(inside, outline="white", width=2)
    if min(inside[2] - inside[0], inside[3] - inside[1]) > 4:
        draw.rectangle((inside[0] + 2, inside[1] + 2, inside[2] - 2, inside[3] - 2), outline="black")
    buffer = io.BytesIO()
    marked.save(buffer, "JPEG", quality=70)
    return buffer.getvalue(), marked.size
