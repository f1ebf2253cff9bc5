"""Colour of 16 bits a channel, of which Pillow keeps the high bytes alone. Decodes nothing itself."""

from __future__ import annotations

import sys
from typing import Any

from PIL import Image

_OTHER_END = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if sys.byteorder == "little" else ";16L"}


def low_bytes(image: Image.Image) -> list[Any]:
    """How to load `image`, which is not loaded yet, so that Pillow takes the low bytes: as if they came in the other
    order. Empty for any other than 16-bit RGB and RGBA."""
    return [tile for part in getattr(image, "tile", []) if (tile := _swapped(part)) is not None]


def _swapped(part: Any) -> Any:
    args = part[3]
    rawmode = args[0] if isinstance(args, tuple) and args else args
    if not isinstance(rawmode, str) or rawmode[:-4] not in ("RGB", "RGBA"):
        return None
    other = rawmode[:-4] + _OTHER_END.get(rawmode[-4:], "")
    if other == rawmode[:-4]:
        return None
    return (*part[:3], (other, *args[1:]) if isinstance(args, tuple) else other)
