"""Kinds of image files that decoders disagree on, each made of one image. Decides nothing about which are used.

Every one of them has fooled somebody's pipeline: an orientation that was ignored, CMYK read inverted, 16 bits cut to
the wrong byte, transparent pixels blended with black.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from edge_tl.device.images.decode import pixel_limit

_SIDE = 384  # pixels of the longer side, of what is stored with loss
_SMALL_SIDE = 192  # of what is not
_SLIVER = 48
_TILE = 100  # the very large image: 12 million pixels, in squares that compress to some kilobytes
_ORIENTATION = 0x0112
_SAMPLING = {0: "jpeg-444", 1: "jpeg-422", 2: "jpeg-baseline"}  # as Pillow numbers them
_OF_MODE = {
    ("JPEG", "CMYK"): "jpeg-cmyk",
    ("JPEG", "L"): "jpeg-grey",
    ("PNG", "RGB"): "png-rgb",
    ("PNG", "L"): "png-grey",
    ("PNG", "RGBA"): "png-rgba",
    ("PNG", "LA"): "png-grey-alpha",
    ("WEBP", "RGB"): "webp",
    ("WEBP", "RGBA"): "webp-alpha",
    ("TIFF", "RGB"): "tiff",
}

Encoded = tuple[str, bytes]
"""A suffix such as ".jpg", and the content of a file."""


def kind_of(content: bytes) -> str | None:
    """Which of `KINDS` an encoded image is, by its header; None where it is none of them, or of one that its header
    does not tell."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            turned = image.getexif().get(_ORIENTATION, 1)
            if image.format == "JPEG" and turned in range(2, 9):
                return f"exif-{turned}"
            if image.format == "PNG" and content[24] == 16:  # bits a channel, of which Pillow shows eight
                return None
            if image.format == "PNG" and image.mode == "P":
                return "png-palette" if "transparency" in image.info else None
            if image.mode in ("RGBA", "LA") and image.getchannel("A").getextrema()[0] == 255:
                return None  # blending it with any colour would show nothing
            if known := _OF_MODE.get((image.format or "", image.mode)):
                return known
            if not isinstance(image, JpegImagePlugin.JpegImageFile):
                return None
            if image.info.get("progressive"):
                return "jpeg-progressive"
            return _SAMPLING.get(JpegImagePlugin.get_sampling(image))
    except Exception:  # Pillow raises anything on a damaged header
        return None


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _within(image: Image.Image, side: int) -> Image.Image:
    """With at most `side` pixels a side, and no more in all than every device decodes."""
    side = min(side, math.isqrt(int(min(pixel_limit(None), side * side))))
    small = image.copy()
    small.thumbnail((side, side))
    return small


def _jpeg(image: Image.Image, **options: Any) -> Encoded:
    return ".jpg", _encode(_within(image, _SIDE), "JPEG", **{"quality": 85, "subsampling": "4:2:0"} | options)


def _turned(orientation: int) -> Callable[[Image.Image], Encoded]:
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    return lambda image: _jpeg(image, exif=exif)


def _damaged_exif(image: Image.Image) -> Encoded:
    """It promises five entries, of which none is whole; the first would be the orientation."""
    return _jpeg(image, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03")


def _png(image: Image.Image, mode: str = "RGB") -> Encoded:
    return ".png", _encode(_within(image, _SMALL_SIDE).convert(mode), "PNG")


def _levels(image: Image.Image, mode: str) -> NDArray[np.uint16]:
    return np.asarray(_within(image, _SMALL_SIDE).convert(mode)).astype(np.uint16)


def _sixteen(levels: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """With low bytes that would be the negative of the image."""
    wide: NDArray[np.uint16] = levels * np.uint16(256) + (np.uint16(255) - levels)
    return wide


def _grey_16(levels: NDArray[np.uint16], kind: str = "PNG") -> bytes:
    return _encode(Image.fromarray(levels), kind)


def _rgb_16(levels: NDArray[np.uint16]) -> bytes:
    """A PNG of 16 bits a channel `(h, w, 3)`, which Pillow does not write (PNG specification, 11.2)."""
    height, width = levels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in levels)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _transparent(image: Image.Image, mode: str) -> Image.Image:
    """Opaque on the right, fully transparent on the left, where there are colours all the same."""
    small = _within(image, _SMALL_SIDE).convert(mode)
    ramp = np.linspace(0, 255, small.width).astype(np.uint8)
    small.putalpha(Image.fromarray(np.broadcast_to(ramp, (small.height, small.width)).copy()))
    return small


def _palette(image: Image.Image) -> Encoded:
    small = _within(image, _SMALL_SIDE).quantize(32)
    return ".png", _encode(small, "PNG", transparency=0)


def _sliver(size: tuple[int, int]) -> Callable[[Image.Image], Encoded]:
    return lambda image: (".png", _encode(image.convert("RGB").resize(size), "PNG"))


def _very_large(image: Image.Image) -> Encoded:
    tiny = image.convert("RGB").resize((40, 30)).quantize(16)
    tile = max(1, min(_TILE, math.isqrt(int(min(pixel_limit(None), 1e9)) // (40 * 30))))
    size = (40 * tile, 30 * tile)
    return ".png", _encode(tiny.resize(size, Image.Resampling.NEAREST), "PNG", compress_level=3)


KINDS: dict[str, Callable[[Image.Image], Encoded]] = {
    "jpeg-baseline": _jpeg,
    "jpeg-progressive": lambda image: _jpeg(image, progressive=True),
    "jpeg-422": lambda image: _jpeg(image, subsampling="4:2:2"),
    "jpeg-444": lambda image: _jpeg(image, subsampling="4:4:4"),
    "jpeg-grey": lambda image: _jpeg(image.convert("L"), subsampling=-1),
    "jpeg-cmyk": lambda image: _jpeg(image.convert("CMYK"), subsampling=-1),
    **{f"exif-{turn}": _turned(turn) for turn in range(1, 9)},
    "exif-damaged": _damaged_exif,
    "png-rgb": _png,
    "png-grey": lambda image: _png(image, "L"),
    "png-grey-16": lambda image: (".png", _grey_16(_sixteen(_levels(image, "L")))),
    "png-grey-16-narrow": lambda image: (".png", _grey_16(_levels(image, "L"))),
    "png-rgb-16": lambda image: (".png", _rgb_16(_sixteen(_levels(image, "RGB")))),
    "png-rgb-16-narrow": lambda image: (".png", _rgb_16(_levels(image, "RGB"))),
    "png-palette": _palette,
    "png-rgba": lambda image: (".png", _encode(_transparent(image, "RGB"), "PNG")),
    "png-grey-alpha": lambda image: (".png", _encode(_transparent(image, "L"), "PNG")),
    "webp": lambda image: (".webp", _encode(_within(image, _SIDE), "WEBP", quality=85)),
    "webp-alpha": lambda image: (
        ".webp",
        _encode(_transparent(image, "RGB"), "WEBP", lossless=True, exact=True),
    ),
    "tiff": lambda image: (".tif", _encode(_within(image, _SMALL_SIDE), "TIFF")),
    "tiff-grey-16": lambda image: (".tif", _grey_16(_sixteen(_levels(image, "L")), "TIFF")),
    "one-by-n": _sliver((1, _SLIVER)),
    "n-by-one": _sliver((_SLIVER, 1)),
    "very-large": _very_large,
}
"""By name, what makes a file of the kind of an upright RGB image. It raises what Pillow raises where an encoder is
missing."""
