"""An image's orientation from its metadata, however damaged that is. Touches no pixels and writes no metadata.

Pillow's own rotation writes the whole EXIF block anew, and raises anything on values that it cannot write.
"""

from __future__ import annotations

from PIL import Image

from edge_tl.device.images.reading import is_transient

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright_transpose(image: Image.Image) -> Image.Transpose | None:
    """How to turn the stored pixels upright, by EXIF or XMP as Pillow finds them; None where there is nothing to turn,
    or nothing that can be read."""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception as error:  # of a damaged block it raises anything
        if is_transient(error):
            raise
        return None


def strip_exif(content: bytes) -> tuple[bytes, bytes]:
    """An encoded image without its EXIF block, and the block (empty where it does not matter: AVIF and HEIC say
    elsewhere how they are turned). What is neither JPEG nor of that family stays as it is."""
    if content[4:8] == b"ftyp":  # an item of unknown type is passed over
        return content.replace(b"Exif", b"skip", 1), b""
    if not content.startswith(b"\xff\xd8"):
        return content, b""
    kept, block, at = [content[:2]], b"", 2
    while content[at : at + 1] == b"\xff" and content[at + 1 : at + 2] not in (b"\xda", b""):
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        segment = content[at:end]
        if segment[1:2] != b"\xe1":
            kept.append(segment)
        elif segment[4:10] == b"Exif\0\0":
            block = segment[4:]
        at = end
    return b"".join([*kept, content[at:]]), block
