"""What a caller may give as an image, and what the contract decodes of it. Decodes nothing."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.errors import BadInput

Picture = Image.Image | NDArray[np.uint8] | str | os.PathLike[str] | bytes | bytearray | memoryview
"""An image: a path, encoded bytes, a Pillow image, or uint8 pixels `(H, W, 3)` in RGB or `(H, W)` in grey."""

EncodedPicture = Image.Image | str | os.PathLike[str] | bytes


def is_one_picture(images: object) -> bool:
    """Whether it is an image where a list of them is wanted."""
    return isinstance(images, Image.Image | np.ndarray | str | bytes | bytearray | memoryview | os.PathLike)


def picture_path(image: Picture) -> str | None:
    """None for an image that has none."""
    return str(image) if isinstance(image, str | os.PathLike) else None


def encoded_picture(image: object) -> EncodedPicture:
    """What the contract decodes. Raises `BadInput`."""
    if isinstance(image, Image.Image | str | os.PathLike | bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, np.ndarray):
        sized = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
        if image.dtype == np.uint8 and sized and image.size:
            return Image.fromarray(np.ascontiguousarray(image))
        raise BadInput(
            f"an array of {image.dtype} and shape {image.shape} is no image. Give uint8 pixels of shape (H, W, 3) in "
            "RGB order, or (H, W) in grey; no batch, no normalized values."
        )
    raise BadInput(
        f"{type(image).__name__} is no image. Give a path, encoded bytes, a Pillow image, or uint8 pixels (H, W, 3)."
    )
