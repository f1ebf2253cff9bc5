"""Files that decoders read in different ways, whoever is right: a pipeline may differ on these. Loads no pixel."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def is_odd(path: Path) -> bool:
    """Whether the file is anything but a grey or RGB JPEG, PNG or BMP of 8 bits with a whole EXIF block."""
    try:
        with Image.open(path) as image:
            plain = image.format in ("JPEG", "PNG", "BMP") and image.mode in ("RGB", "L")
            wide = any(";16" in str(tile) for tile in getattr(image, "tile", []))
            damaged = bool(image.info.get("exif")) and not len(image.getexif())
            return not plain or wide or damaged
    except Exception:  # Pillow raises anything on a damaged header
        return True
