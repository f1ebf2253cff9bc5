"""How large images are, and what a contract's crop takes away of them. Reads headers, decodes no image."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import median

from PIL import Image

from edge_tl.device.errors import BadImage
from edge_tl.device.images.exif import upright_transpose
from edge_tl.device.images.reading import EncodedImage
from edge_tl.device.listener import Listener
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images.dataset import Dataset
from edge_tl.host.runs.resize_records import CropLossRecord, CroppedImage, ImageSizes
from edge_tl.host.seeded import seeded_order

Size = tuple[int, int]
"""Width and height of an upright image in pixels."""

NOTICEABLE = 0.3
"""A square image loses 0.23 to the usual margin of 224 in 256 pixels, one of 5:4 0.39."""
_MOST = 2000  # images whose headers are read
_WORST = 12
_SIDEWAYS = {
    Image.Transpose.TRANSPOSE,
    Image.Transpose.ROTATE_270,
    Image.Transpose.TRANSVERSE,
    Image.Transpose.ROTATE_90,
}


def upright_sizes(dataset: Dataset, *, seed: int = 0) -> dict[str, Size]:
    """(width, height) by path of at most 2,000 images, drawn; without those whose header cannot be read: who decodes
    them says why."""
    samples = seeded_order(dataset.samples, seed, name=lambda s: s.digest)[:_MOST]
    found = {}
    for sample, source in zip(samples, dataset.sources(samples), strict=True):
        if size := _upright_size(source):
            found[sample.path] = size
    return found


def summarize_sizes(sizes: Mapping[str, Size], contract: Preprocess) -> ImageSizes | None:
    """None of no images."""
    if not sizes:
        return None
    widths, heights = ([size[side] for size in sizes.values()] for side in (0, 1))
    least = min(contract.input_size)
    return ImageSizes(
        n=len(sizes),
        width=(min(widths), round(median(widths)), max(widths)),
        height=(min(heights), round(median(heights)), max(heights)),
        enlarged=sum(min(size) < least for size in sizes.values()),
    )


def measure_crop_loss(contract: Preprocess, sizes: Mapping[str, Size]) -> CropLossRecord | None:
    """Of images of these sizes by path; None where the contract crops nothing, or there are none."""
    if contract.crop is None:
        return None
    found = []
    for path, size in sizes.items():
        with suppress(BadImage):
            left, top, right, bottom = contract.shown(size)
            found.append(CroppedImage(path, 1 - (right - left) * (bottom - top)))
    if not found:
        return None
    worst = sorted(found, key=lambda image: (-image.lost, image.path))[:_WORST]
    return CropLossRecord(len(found), median(image.lost for image in found), tuple(worst))


def note_crop_loss(loss: CropLossRecord | None, *, compared: bool, listener: Listener) -> None:
    """One line where half of the images lose a noticeable part."""
    if loss is not None and loss.median >= NOTICEABLE and not compared:
        listener.note(
            f"the centre crop drops {loss.median:.0%} or more of the area of half of your images: --compare-resize "
            "measures whether another resize is better"
        )


def _upright_size(source: Path | EncodedImage) -> Size | None:
    """(width, height), None where no header can be read: who decodes the image says why."""
    try:
        opened = Image.open(source if isinstance(source, Path) else io.BytesIO(source.read_bytes()))
        with opened as image:
            turned = upright_transpose(image) in _SIDEWAYS
            return (image.height, image.width) if turned else image.size
    except Exception:  # Pillow raises anything
        return None
