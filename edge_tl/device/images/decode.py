"""An encoded image of any kind to upright 8-bit RGB, or a named fault. Neither resizes nor normalizes.

Training, calibration, goldens and the device all decode here, so that all see the same pixels.
"""

from __future__ import annotations

import io
import math
import os
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from edge_tl.device.errors import BadImage
from edge_tl.device.images import exif, grey, sixteen_bit
from edge_tl.device.images.icon import icon_pixels, is_icon
from edge_tl.device.images.reading import EncodedImage, is_transient, read, with_retries

# Pillow only warns between one and two times its limit; a decompression bomb is a bomb at any size.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
# Of metadata that no pixel depends on, one line a file.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\..*")

ImageSource = Image.Image | str | os.PathLike[str] | bytes | EncodedImage

ALIKE = "every pixel is alike"
# By their first bytes. Not among them: formats without such (TGA), which take any bytes for pixels, and EPS, for which
# Pillow starts another program.
_FORMATS = (
    "JPEG",
    "MPO",
    "PNG",
    "WEBP",
    "BMP",
    "GIF",
    "TIFF",
    "PPM",
    "AVIF",
    "HEIF",
    "JPEG2000",
    "ICO",
    "PSD",
    "QOI",
)
_EXTRA = 'pip install "edge-tl[heic]"'
_HEIC = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}
_MOST_BYTES_A_PIXEL = 16  # four channels of 32 bits


@dataclass(frozen=True)
class Decoded:
    """An upright RGB image; `remark` says what had to be assumed about its grey levels, None mostly; `format` is the
    file's, as Pillow names it, None for an image in memory; `turn` is how the stored pixels were turned upright."""

    image: Image.Image
    remark: str | None
    format: str | None = None
    turn: Image.Transpose | None = None


def decode(source: ImageSource, *, max_pixels: int | None = None) -> Image.Image:
    """The image of `examine`."""
    return examine(source, max_pixels=max_pixels).image


def examine(source: ImageSource, *, max_pixels: int | None = None) -> Decoded:
    """Decode to an upright 8-bit RGB Pillow image: EXIF orientation applied, every pixel read.

    Grayscale, palette, CMYK and alpha become RGB as Pillow converts them (alpha is dropped, as
    torchvision's loader does); wider grey levels are brought to 8 bits by their range, see `grey`. Where the EXIF
    block is so damaged that its orientation cannot be read, the pixels stay as they are stored. `max_pixels` is the
    most that a file may hold, by default Pillow's own limit.

    Raises `BadImage` when the source is missing, truncated, no image, too large, or of a kind whose decoder is not
    installed; `ReadError` when it cannot be read now.
    """
    name = str(source) if not isinstance(source, Image.Image | bytes) else "image in memory"
    limit = pixel_limit(max_pixels)
    if isinstance(source, Image.Image):
        image, pixels = source, source.width * source.height
        if not pixels:
            raise BadImage(name, f"it has no pixels ({image.width} x {image.height})", of_bytes=False)
        if pixels > limit:
            raise _too_many(name, pixels, limit)
        return with_retries(name, lambda: _faults_named(name, limit, lambda: _upright_rgb(image)))
    most = limit * _MOST_BYTES_A_PIXEL + (64 << 20)
    content = source if isinstance(source, bytes) else read(source, most=most)
    return with_retries(name, lambda: _faults_named(name, limit, lambda: _from_bytes(name, content, limit)))


def format_anywhere(content: bytes) -> str | None:
    """Pillow's name of its format where every device decodes it, within Pillow's own limit and without a decoder of an
    extra; else None."""
    if _brands(content):
        return None
    try:
        return examine(content).format
    except BadImage:
        return None


def pixel_limit(max_pixels: int | None) -> float:
    """The most pixels of an image: as asked, or Pillow's limit, which a program may have changed or lifted."""
    if max_pixels is not None:
        return max_pixels
    with _Raised.lock:
        own = _Raised.before if _Raised.holders else Image.MAX_IMAGE_PIXELS
    return math.inf if own is None else own


def _faults_named(name: str, limit: float, action: Callable[[], Decoded]) -> Decoded:
    """Decoders raise anything on broken files: whatever it is, it is about this file, unless it may pass."""
    try:
        return action()
    except BadImage:
        raise
    except UnidentifiedImageError:
        raise BadImage(name, "not an image that Pillow can read") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        found = re.search(r"\((\d+) pixels\)", str(error))
        raise _too_many(name, int(found[1]) if found else 0, limit) from None
    except Exception as error:
        if is_transient(error):
            raise
        raise BadImage(name, str(error) or type(error).__name__) from None


def _too_many(name: str, pixels: int, limit: float) -> BadImage:
    reason = (
        f"too many pixels ({pixels}, the limit is {limit:.0f}); if you trust the file, --max-pixels {pixels}"
    )
    return BadImage(name, reason, of_bytes=False)


def _from_bytes(name: str, content: bytes, limit: float) -> Decoded:
    if not content:
        raise BadImage(name, "the file is empty")
    kinds = _kinds(name, content)
    with _Raised(limit):
        if is_icon(content) and (pixels := icon_pixels(content)) > limit:
            raise _too_many(name, pixels, limit)
        try:
            image = Image.open(io.BytesIO(content), formats=kinds)
        except Exception:  # a damaged EXIF block is enough for that, though the pixels are whole
            whole = content
            content, block = exif.strip_exif(whole)
            if content == whole:
                raise
            image = Image.open(io.BytesIO(content), formats=kinds)
            image.info |= {"exif": block} if block else {}
        with image:
            if (pixels := image.width * image.height) > limit:
                raise _too_many(name, pixels, limit)
            low_bytes = sixteen_bit.low_bytes(image)
            decoded = _upright_rgb(image)
        if not low_bytes or any(high for _, high in _bands(decoded.image)):
            return decoded
        with Image.open(io.BytesIO(content), formats=kinds) as image:
            image.tile = low_bytes
            again = _upright_rgb(image)
        return (
            replace(again, remark=grey.EIGHT_BITS)
            if any(high for _, high in _bands(again.image))
            else decoded
        )


def _kinds(name: str, content: bytes) -> list[str]:
    """The formats that this Pillow reads. Raises `BadImage` where the file is of one that needs an extra."""
    Image.init()
    brands = _brands(content)
    if brands & _HEIC and not brands & _AVIF and "HEIF" not in Image.OPEN:
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise BadImage(name, f"HEIC needs a decoder: {_EXTRA}", of_bytes=False) from None
        register_heif_opener()
    if brands & _AVIF and "AVIF" not in Image.OPEN:
        raise BadImage(name, f"AVIF needs a newer Pillow: {_EXTRA}", of_bytes=False)
    return [kind for kind in _FORMATS if kind in Image.OPEN]


def _brands(content: bytes) -> set[bytes]:
    """What a file of the ISO base media format says it is compatible with; empty for any other."""
    if content[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(content[:4], "big"), 256)
    return {content[at : at + 4] for at in (8, *range(16, end, 4))}


def _upright_rgb(image: Image.Image) -> Decoded:
    image.load()
    turn = exif.upright_transpose(image)
    rgb, remark = image, None
    if image.mode.startswith(("I", "F")):  # Pillow's conversion would clip them to white
        levels, remark = grey.to_levels(np.asarray(image))
        rgb = Image.fromarray(levels).convert("RGB")
    elif image.mode != "RGB":
        if image.mode == "P" and "transparency" in image.info:
            rgb = image.copy()
            del rgb.info["transparency"]  # dropped by the conversion anyway, with a warning
        rgb = rgb.convert("RGB")
    # A copy, since the file behind the image is closed.
    upright = rgb.transpose(turn) if turn is not None else rgb.copy() if rgb is image else rgb
    return Decoded(upright, remark, image.format, turn)


def _bands(image: Image.Image) -> Any:
    """Least and largest level of each band."""
    return image.getextrema()


class _Raised:
    """Pillow has one limit for the whole process. It is raised while a file is open that may be larger; each call
    compares the size with its own limit before any pixel is decoded."""

    lock = threading.Lock()
    holders = 0
    before: int | None = None

    def __init__(self, limit: float) -> None:
        self.limit, self.holds = limit, False

    def __enter__(self) -> None:
        with _Raised.lock:
            base = _Raised.before if _Raised.holders else Image.MAX_IMAGE_PIXELS
            self.holds = base is not None and self.limit > base
            if self.holds:
                if not _Raised.holders:
                    _Raised.before = base
                _Raised.holders += 1
                most = self.limit if math.isfinite(self.limit) else 1 << 40
                Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, int(most))

    def __exit__(self, *failure: object) -> None:
        if self.holds:
            with _Raised.lock:
                _Raised.holders -= 1
                if not _Raised.holders:
                    Image.MAX_IMAGE_PIXELS = _Raised.before
