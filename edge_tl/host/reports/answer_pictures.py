"""Images whose answers are worth a look, with heat maps over them, as data of a page. Reads no file.

What a record holds may be anybody's: a picture is decoded and encoded anew, and one that cannot be is left out.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from edge_tl.device.errors import BadImage
from edge_tl.device.explain.heatmaps import ClassHeatmap
from edge_tl.device.explain.picture import heatmap_picture
from edge_tl.device.format import interval, one_line, percentage
from edge_tl.device.images.decode import decode
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.pictures import AnswerPicture, HeatmapRows, PicturesRecord

MOST_BYTES = 1_500_000  # of all JPEG files; in base64 a third more
_SIDE = 200  # pixels of the longer side
_MOST_PIXELS = 1 << 20  # of a picture in the record


class ShownPicture(NamedTuple):
    """A JPEG file as the address of an `<img>`, its size in pixels, the text for who does not see it, and the line
    below it."""

    address: str
    width: int
    height: int
    alt: str
    caption: str


class AnswerCard(NamedTuple):
    """One image: its path, the picture and its heat maps, and who says what of it."""

    path: str
    pictures: tuple[ShownPicture, ...]
    said: tuple[tuple[str, str], ...]


class AnswerCards(NamedTuple):
    """Headings with images: right answers, the errors that an artifact is surest of, and answers that are not
    PyTorch's. How to read the maps."""

    parts: list[tuple[str, list[AnswerCard]]]
    notes: list[str]


def answer_cards(record: BundleRecord) -> AnswerCards | None:
    """None where the record has no such images, or none that can be shown."""
    if record.pictures is None:
        return None
    room, parts = _Room(), []
    for heading, chosen in (
        ("right", record.pictures.right),
        ("errors", record.pictures.errors),
        ("flips", record.pictures.flips),
    ):
        cards = _cards(record.pictures, chosen, record.preprocess, room)
        if cards:
            parts.append((_heading(record, heading, chosen, len(cards)), cards))
    return AnswerCards(parts, _notes(record, record.pictures)) if parts else None


def _heading(record: BundleRecord, kind: str, chosen: Sequence[AnswerPicture], count: int) -> str:
    name = one_line(chosen[0].artifact)
    if kind == "right":
        return f"Typical right answers of {name}"
    if kind == "errors":
        return f"The errors that {name} is surest of"
    changed = next((a.changed for a in record.artifacts if a.id == chosen[0].artifact), None) or ()
    of = f": {count} of {len(changed)}" if len(changed) > count else ""
    return f"Answers of {name} that are not PyTorch's{of}"


class _Room:
    """What is left of the bytes for pictures."""

    def __init__(self) -> None:
        self.left = MOST_BYTES

    def takes(self, size: int) -> bool:
        self.left -= size
        return self.left >= 0


def _cards(
    record: PicturesRecord, pictures: Sequence[AnswerPicture], contract: Preprocess, room: _Room
) -> list[AnswerCard]:
    cards = []
    for picture in pictures:
        try:
            card = _card(record, picture, contract)
        except (BadImage, ValueError):
            continue
        if not room.takes(sum(len(each.address) for each in card.pictures) * 3 // 4):
            break
        cards.append(card)
    return cards


def _card(record: PicturesRecord, picture: AnswerPicture, contract: Preprocess) -> AnswerCard:
    image = decode(base64.b64decode(picture.jpeg, validate=True), max_pixels=_MOST_PIXELS)
    path = one_line(picture.image)
    shown = [_shown(_scaled(image), path, "the image")]
    maps = [
        (record.fp32, picture.pytorch, picture.pytorch_heatmap),
        (picture.artifact, picture.device, picture.heatmap),
    ]
    for who, label, rows in maps:
        if rows is not None:
            caption = f"{one_line(who)}: {one_line(label)}"
            alt = f"heat map of {one_line(who)} for {one_line(label)}, over {path}"
            shown.append(_shown(_map(image, picture, rows, contract), alt, caption))
    said = [
        ("true label", one_line(picture.label)),
        ("PyTorch", _answer(picture.pytorch, picture.pytorch_probability)),
        (one_line(picture.artifact), _answer(picture.device, picture.device_probability)),
    ]
    return AnswerCard(path, tuple(shown), tuple(said))


def _answer(label: str, probability: float) -> str:
    return f"{one_line(label)}, {percentage(probability, 1)}"


def _map(image: Image.Image, picture: AnswerPicture, rows: HeatmapRows, contract: Preprocess) -> Image.Image:
    """Over the small image, where the model's input lay on the large one."""
    across, down = image.width / picture.size[0], image.height / picture.size[1]
    left, top, right, bottom = contract.input_box(picture.size)
    heatmap = ClassHeatmap(picture.device, np.array(rows, np.float32), "cam")
    box = (left * across, top * down, right * across, bottom * down)
    return heatmap_picture(image, heatmap, box, side=_SIDE)


def _scaled(image: Image.Image) -> Image.Image:
    """A very small image enlarged too: else nobody sees what it shows."""
    scale = _SIDE / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _shown(image: Image.Image, alt: str, caption: str) -> ShownPicture:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=72)
    address = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return ShownPicture(address, *image.size, alt, caption)


def _notes(record: BundleRecord, found: PicturesRecord) -> list[str]:
    """How to read the maps, or why there are none; and how far INT8's agree with FP32's."""
    pictures = (*found.errors, *found.flips)
    if not pictures:
        return []
    if not any(picture.heatmap for picture in pictures):
        name = one_line(pictures[0].artifact)
        return [
            "No heat maps here: those of such a model take dozens of calls an image. To draw one: edge-tl predict "
            f"BUNDLE IMAGE --explain --artifact {name}"
        ]
    notes = [
        "Yellow speaks for the answer named below the map, dark does not; what is striped the model did not see."
    ]
    shown = {picture.artifact for picture in pictures}
    for artifact in record.artifacts:
        heatmap = artifact.heatmap
        if artifact.id in shown and artifact.precision != "fp32" and heatmap and heatmap.rank_correlation:
            figure = interval(heatmap.rank_correlation, heatmap.rank_correlation_ci)
            notes.append(
                f"Maps of {artifact.id} agree with FP32's for the class that FP32 answers: rank correlation {figure} "
                f"on {heatmap.n} images."
            )
    return [one_line(note) for note in notes]
