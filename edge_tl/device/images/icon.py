"""How large the picture inside a Windows icon is. Pillow decodes it when it opens the file, before anybody can look at
its size; the file's own directory says at most 256 a side, whatever is inside.

Decodes no pixel.
"""

from __future__ import annotations

import io
import math
import struct

from PIL import Image

_ENTRY = struct.Struct("<BBBxxxHxxxxI")  # width, height, colours; bits a pixel; offset of the picture


def is_icon(content: bytes) -> bool:
    """By its first bytes."""
    return content.startswith(b"\0\0\1\0")


def icon_pixels(content: bytes) -> int:
    """The pixels of the picture that Pillow decodes of an icon: the largest by the directory, of those the one of the
    fewest colours. Raises what Pillow raises on a damaged header, and `ValueError`."""
    try:
        (count,) = struct.unpack_from("<H", content, 4)
        entries = [_ENTRY.unpack_from(content, 6 + _ENTRY.size * i) for i in range(count)]
    except struct.error:
        raise ValueError("a damaged icon: its directory ends early") from None
    if not entries:
        raise ValueError("a damaged icon: there is no picture in it")
    *_, offset = min(
        entries, key=lambda entry: (-_side(entry[0]) * _side(entry[1]), _depth(entry[2], entry[3]))
    )
    with Image.open(io.BytesIO(content[offset:]), formats=["PNG", "DIB"]) as inside:
        # Of a bitmap the lower half is its mask.
        pixels: int = inside.width * inside.height
        return pixels if inside.format == "PNG" else pixels // 2


def _side(stored: int) -> int:
    return stored or 256


def _depth(colours: int, bits: int) -> int:
    return bits or (math.ceil(math.log2(colours)) if colours else 0) or 256
