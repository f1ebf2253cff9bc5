"""Words on a picture: the font that Pillow brings along, and what fits. Draws nothing."""

from __future__ import annotations

from functools import cache

from PIL import ImageFont

CaptionFont = ImageFont.ImageFont | ImageFont.FreeTypeFont


@cache
def caption_font(size: int) -> CaptionFont:
    """Of about `size` pixels."""
    try:
        return ImageFont.load_default(size)
    except (TypeError, ImportError, OSError):  # before Pillow 10.1, or built without FreeType
        return ImageFont.load_default()


def fitting_text(text: str, width: int, font: CaptionFont) -> str:
    """`text`, or its beginning and "..."."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def is_drawable(text: str) -> bool:
    """Whether the font that Pillow brings along has all letters of `text`: those of western and central Europe."""
    return all(letter.isprintable() and ord(letter) < 0x180 for letter in text)
