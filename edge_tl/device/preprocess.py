"""The preprocessing contract: how an encoded image becomes the model's input, as data and as ONE implementation.

Training, calibration, goldens and the device all call `Preprocess.apply`; nothing else in the project
may resize, crop or normalize an image.

The steps and their rounding are torchvision's (`torchvision.transforms._presets.ImageClassification` on a
Pillow image), so weights published with those transforms see the pixels they were trained on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.errors import BadImage, BundleError
from edge_tl.device.images.decode import ALIKE, Decoded, ImageSource, examine, pixel_limit
from edge_tl.device.images.decode import decode as decode
from edge_tl.device.images.reading import with_retries

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RESIZE_POLICIES = ("shorter", "exact", "none")
LARGEST_SIDE = 2048  # pixels of a model's input; a bundle of somebody else may ask for any


@dataclass(frozen=True)
class Framed:
    """uint8 `(H, W, 3)` pixels, and what a person should know about the image they come from, None mostly."""

    pixels: NDArray[np.uint8]
    remark: str | None


@dataclass(frozen=True)
class Preprocess:
    """From an encoded image to float32 `(3, H, W)`. Sizes are `(height, width)` in pixels; mean and std are
    in units of the full intensity range, i.e. of pixels / 255, in the order R, G, B.

    `resize`: "shorter" (the shorter side becomes `resize_size[0]`, aspect kept), "exact" (squeezed to
    `resize_size`) or "none". `crop` cuts the centre, padding with black where the image is smaller.
    """

    resize: str = "shorter"
    resize_size: tuple[int, int] = (256, 256)
    interpolation: str = "bilinear"
    crop: tuple[int, int] | None = (224, 224)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    color: str = "RGB"
    exif_transpose: bool = True
    layout: str = "NCHW"
    max_pixels: int | None = field(default=None, compare=False, repr=False, metadata={"key": ""})
    """The most pixels of a file, here and now; Pillow's limit when None. No record holds it: what came from elsewhere
    must not raise it."""

    def __post_init__(self) -> None:
        if self.resize not in RESIZE_POLICIES:
            raise BundleError(f"preprocess.resize: {self.resize!r}. Use one of {', '.join(RESIZE_POLICIES)}.")
        if self.interpolation not in INTERPOLATIONS:
            raise BundleError(
                f"preprocess.interpolation: {self.interpolation!r}. Use one of {', '.join(INTERPOLATIONS)}."
            )
        if (self.color, self.layout) != ("RGB", "NCHW") or self.exif_transpose is not True:
            raise BundleError(
                f"preprocess: color {self.color!r}, layout {self.layout!r}, exif_transpose "
                f"{self.exif_transpose!r}. This version reads RGB, NCHW, true; use the edge-tl that wrote it."
            )
        for name, sizes, count in (("resize_size", self.resize_size, 2), ("crop", self.crop, 2)):
            if sizes is not None and not (
                isinstance(sizes, tuple)
                and len(sizes) == count
                and all(type(v) is int and 0 < v <= LARGEST_SIDE for v in sizes)
            ):
                raise BundleError(
                    f"preprocess.{name}: {sizes!r}. It is [height, width] in pixels, {LARGEST_SIDE} at most."
                )
        for name, values, low in (("mean", self.mean, -1e3), ("std", self.std, 1e-4)):
            if not (
                isinstance(values, tuple)
                and len(values) == 3
                # Beyond, float32 would lose the pixels: a deviation of 1e-320 is 0 in it, and every input infinite.
                and all(type(v) in (int, float) and low <= v <= 1e3 for v in values)
            ):
                raise BundleError(
                    f"preprocess.{name}: {values!r}. It is three numbers from {low:g} to 1000, R, G, B."
                )
        if self.max_pixels is not None and not (type(self.max_pixels) is int and self.max_pixels > 0):
            raise BundleError(f"max_pixels: {self.max_pixels!r}. It is a number of pixels.")
        if self.crop is None and self.resize != "exact":
            raise BundleError("preprocess.crop: null needs resize 'exact', or images would differ in size.")

    @property
    def input_size(self) -> tuple[int, int]:
        """`(height, width)` of the model's input."""
        return self.crop or self.resize_size

    def pixels(self, source: ImageSource) -> NDArray[np.uint8]:
        """Upright, resized and cropped: uint8 `(H, W, 3)`. Raises `BadImage`, `ReadError`."""
        return self.framed(source).pixels

    def framed(self, source: ImageSource | Decoded) -> Framed:
        """`pixels`, and what had to be assumed to get there; `source` may be decoded already, by `examine`. Raises
        `BadImage`, `ReadError`."""
        whole = self._whole(source)
        return replace(whole, pixels=_center_crop(whole.pixels, self.crop)) if self.crop else whole

    def resized(self, source: ImageSource) -> NDArray[np.uint8]:
        """`pixels` before the crop: upright and resized, uint8 `(h, w, 3)`. Raises `BadImage`, `ReadError`."""
        return self._whole(source).pixels

    def _whole(self, source: ImageSource | Decoded) -> Framed:
        decoded = source if isinstance(source, Decoded) else examine(source, max_pixels=self.max_pixels)
        name = "image in memory" if isinstance(source, Image.Image | bytes | Decoded) else str(source)
        new_size = self._size_after_resize(decoded.image.size, name)
        return with_retries(name, lambda: self._shrunk(decoded.image, new_size, decoded.remark))

    def _size_after_resize(self, size: tuple[int, int], name: str) -> tuple[int, int]:
        """`(width, height)` after the resize. Raises `BadImage` for a sliver that would become a bomb."""
        width, height = new_size = size
        if self.resize == "exact":
            new_size = (self.resize_size[1], self.resize_size[0])
        elif self.resize == "shorter":
            side = self.resize_size[0]
            # torchvision truncates the longer side, it does not round it.
            new_size = (
                (side, int(side * height / width)) if width <= height else (int(side * width / height), side)
            )
        if new_size[0] * new_size[1] > pixel_limit(self.max_pixels):
            reason = f"{width} x {height} is too narrow: resized it would be {new_size[0]} x {new_size[1]}"
            raise BadImage(name, reason, of_bytes=False)
        return new_size

    def _shrunk(self, image: Image.Image, new_size: tuple[int, int], remark: str | None) -> Framed:
        resized = (
            image if new_size == image.size else image.resize(new_size, INTERPOLATIONS[self.interpolation])
        )
        if _alike(resized) and _alike(image):  # the whole image only where the small one says nothing
            remark = ALIKE if remark is None else f"{ALIKE}: {remark}"
        return Framed(np.asarray(resized), remark)

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 `(..., H, W, 3)` to float32 `(..., 3, H, W)`: `(pixels / 255 - mean) / std`, in that order, in
        float32, which is bit for bit what torchvision computes."""
        # Planes first and in place: the same bits in an eighth of the time that three new arrays take.
        planes = np.ascontiguousarray(np.moveaxis(pixels, -1, -3)).astype(np.float32)
        planes /= np.float32(255)
        planes -= np.asarray(self.mean, np.float32)[:, None, None]
        planes /= np.asarray(self.std, np.float32)[:, None, None]
        return planes

    def apply(self, source: ImageSource) -> NDArray[np.float32]:
        """An image (Pillow image, path or encoded bytes) to the model's input, float32 `(3, H, W)`.

        Raises `BadImage` when it cannot be decoded, `ReadError` when it cannot be read now.
        """
        return self.normalize(self.pixels(source))

    def levels(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Undo the normalization: model inputs `(..., 3, H, W)` in units of 8-bit intensity levels (0..255)."""
        std = np.asarray(self.std, np.float32)[:, None, None]
        mean = np.asarray(self.mean, np.float32)[:, None, None]
        result: NDArray[np.float32] = (inputs * std + mean) * np.float32(255)
        return result

    def to_json(self) -> dict[str, Any]:
        """Plain data; `from_json` reads it back."""
        values = asdict(self)
        del values["max_pixels"]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Preprocess:
        """Raises `BundleError` for a field that is unknown, missing or ill-typed: a contract half understood is not
        obeyed.
        """
        if not isinstance(record, dict):
            raise BundleError(
                f"preprocess: {type(record).__name__} in place of an object. Copy or export it again."
            )
        known = {each.name for each in fields(cls)} - {"max_pixels"}
        if unknown := set(record) - known:
            raise BundleError(
                f"preprocess: unknown field {sorted(unknown)[0]!r}. A newer edge-tl wrote it; update this one."
            )
        if missing := sorted(known - set(record)):
            raise BundleError(f"preprocess: no {missing[0]!r}. The file is damaged; copy it again.")
        try:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
            return cls(**values)
        except TypeError as error:
            raise BundleError(f"preprocess: {error}. The bundle is damaged; copy it again.") from None


def _alike(image: Image.Image) -> bool:
    """Whether an RGB image is of one colour; a difference of one level is noise."""
    bands: Any = image.getextrema()
    return all(high - low <= 1 for low, high in bands)


def _center_crop(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """torchvision's CenterCrop: black padding where the image is smaller, then a crop at rounded offsets."""
    height, width = pixels.shape[:2]
    wide, high = max(size[1] - width, 0), max(size[0] - height, 0)
    if wide or high:
        pad = ((high // 2, (high + 1) // 2), (wide // 2, (wide + 1) // 2), (0, 0))
        pixels = np.pad(pixels, pad)
        height, width = pixels.shape[:2]
    top, left = round((height - size[0]) / 2.0), round((width - size[1]) / 2.0)
    return pixels[top : top + size[0], left : left + size[1]]
