"""The model's input as mistaken pipelines make it from a golden image. Runs no model.

Where a stage is right, the contract's own implementation does it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.diagnosis.mistakes import Pipeline, variant_of
from edge_tl.device.diagnosis.opencv_resize import Kernel, resize_without_antialias
from edge_tl.device.images import exif
from edge_tl.device.images.decode import examine
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.raw_pixels import raw_pixels

_BACK = {
    Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
    Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
}
_LARGER = 8 / 7  # 256 for 224
BEFORE_RAW_PIXELS = ("decode", "color")
"""The stages that are left to whoever runs an artifact of raw pixels."""


def mistaken_inputs(
    source: Path | bytes, contract: Preprocess, pipelines: Sequence[Pipeline]
) -> list[NDArray[np.float32]]:
    """What each of `pipelines` gives the model for one encoded image: float32 `(3, H, W)` of the contract's size.
    Raises `BadImage`, `ReadError`."""
    return list(each_mistaken_input(source, contract, pipelines))


def each_mistaken_input(
    source: Path | bytes, contract: Preprocess, pipelines: Sequence[Pipeline]
) -> Iterator[NDArray[np.float32]]:
    """The same one after the other: together those of a large input take a gigabyte."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    # Without the metadata, by which it would be turned again.
    upright = Image.fromarray(np.asarray(examine(content, max_pixels=contract.max_pixels).image))
    stored = _as_stored(upright, content)

    @cache
    def framed(turned_back: bool, frame: str | None, kernel: str | None) -> NDArray[np.uint8]:
        return _framed(stored if turned_back else upright, contract, frame, kernel)

    for pipeline in pipelines:
        turned_back = stored is not upright and variant_of(pipeline, "decode") is not None
        pixels = framed(turned_back, variant_of(pipeline, "frame"), variant_of(pipeline, "filter"))
        yield _normalized(pixels, contract, pipeline)


def mistaken_raw_pixels(
    source: Path | bytes, contract: Preprocess, pipelines: Sequence[Pipeline]
) -> Iterator[NDArray[np.uint8]]:
    """What each of `pipelines`, whose stages are among `BEFORE_RAW_PIXELS`, gives a model that preprocesses itself:
    uint8 `(1, H, W, 3)`. Raises `BadImage`, `ReadError`."""
    content = source if isinstance(source, bytes) else source.read_bytes()
    upright = Image.fromarray(raw_pixels(contract, content)[0])
    stored = _as_stored(upright, content)
    for pipeline in pipelines:
        image = stored if variant_of(pipeline, "decode") is not None else upright
        swapped = variant_of(pipeline, "color") is not None
        yield np.ascontiguousarray(np.asarray(image)[None, ..., :: -1 if swapped else 1])


def _as_stored(upright: Image.Image, content: bytes) -> Image.Image:
    """The image before it was turned by its EXIF orientation."""
    try:
        with Image.open(BytesIO(content)) as opened:
            turn = exif.upright_transpose(opened)
    except Exception:  # a damaged block, which turned nothing
        return upright
    return upright if turn is None else upright.transpose(_BACK.get(turn, turn))


def _framed(
    image: Image.Image, contract: Preprocess, frame: str | None, kernel: str | None
) -> NDArray[np.uint8]:
    """uint8 `(H, W, 3)` of the contract's size."""
    if frame is not None:
        image, contract = _other_frame(image, contract, frame)
    if kernel is None:
        return contract.pixels(image)
    if kernel == "pillow bicubic":
        return replace(contract, interpolation="bicubic").pixels(image)
    height, width = _plain(contract).resized(image).shape[:2]
    resized = resize_without_antialias(
        np.asarray(image), (width, height), cast(Kernel, kernel), middle=max(contract.input_size) + 8
    )
    # Of an image that has that size already the contract resizes nothing; it crops and pads.
    return contract.pixels(Image.fromarray(resized))


def _plain(contract: Preprocess) -> Preprocess:
    """As `contract`, in less time: for sizes alone."""
    return replace(contract, interpolation="nearest")


def _other_frame(image: Image.Image, contract: Preprocess, frame: str) -> tuple[Image.Image, Preprocess]:
    """What is left of the image before the resize, and the contract that does the rest."""
    height, width = size = contract.input_size
    squeeze = Preprocess(
        resize="exact",
        resize_size=size,
        interpolation=contract.interpolation,
        crop=None,
        mean=contract.mean,
        std=contract.std,
        max_pixels=contract.max_pixels,
    )
    if frame == "squash":
        return image, squeeze
    if frame == "cut" and contract.resize in ("shorter", "none"):
        # As many pixels of the original as the model takes, and no resize where it has so many.
        high, wide = min(height, image.height), min(width, image.width)
        return _centre(image, wide, high), squeeze
    if frame == "cut":  # for a contract that cuts nothing: the usual resize and crop
        side = round(min(size) * _LARGER)
        return image, replace(squeeze, resize="shorter", resize_size=(side, side), crop=size)
    shrink = min(image.width / width, image.height / height)
    return _centre(image, max(1, round(width * shrink)), max(1, round(height * shrink))), squeeze


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


def _normalized(pixels: NDArray[np.uint8], contract: Preprocess, pipeline: Pipeline) -> NDArray[np.float32]:
    """uint8 `(H, W, 3)` to float32 `(3, H, W)`, as `Preprocess.normalize` where nothing is mistaken."""
    color, scale, norm, layout = (
        variant_of(pipeline, stage) for stage in ("color", "scale", "norm", "layout")
    )
    if color == "bgr":
        pixels = pixels[..., ::-1]
    kept = scale is None and norm is None
    planes: NDArray[np.float32] = (
        contract.normalize(pixels) if kept else _otherwise(pixels, contract, scale, norm)
    )
    if color == "planes":
        planes = planes[::-1]
    if layout is not None:
        planes = _read_as(planes, layout)
    return np.ascontiguousarray(planes)


def _otherwise(
    pixels: NDArray[np.uint8], contract: Preprocess, scale: str | None, norm: str | None
) -> NDArray[np.float32]:
    """With another unit or another mean and standard deviation than the contract's."""
    values: NDArray[np.float32] = np.moveaxis(pixels, -1, -3).astype(np.float32)
    divisor = {None: 255.0, "levels": 1.0, "twice": 255.0 * 255.0}[scale]
    values /= np.float32(divisor)
    mean = np.asarray(contract.mean, np.float32)[:, None, None]
    std = np.asarray(contract.std, np.float32)[:, None, None]
    if norm == "none":
        return values
    if norm == "no std":
        return np.asarray(values - mean, np.float32)
    if norm == "half":  # to -1..1, as many networks want it
        return np.asarray((values - 0.5) / 0.5, np.float32)
    if norm == "mean in levels":
        mean = mean * np.float32(255)
    elif norm == "both in levels":
        mean, std = mean * np.float32(255), std * np.float32(255)
    values = (values - mean) / std
    if norm == "twice":
        values = (values - mean) / std
    return np.asarray(values, np.float32)


def _read_as(planes: NDArray[np.float32], layout: str) -> NDArray[np.float32]:
    """The same numbers in memory, read in another order; `(3, H, W)`."""
    _, height, width = planes.shape
    interleaved = planes.transpose(1, 2, 0)
    found: NDArray[np.float32] = planes.reshape(height, width, 3).transpose(2, 0, 1)
    if layout == "nhwc as nchw":
        found = interleaved.reshape(3, height, width)
    if layout == "transposed":
        found = planes.transpose(0, 2, 1) if height == width else planes
    return found
