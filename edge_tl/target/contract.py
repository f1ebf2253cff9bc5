"""The preprocessing contract: how an encoded image becomes the model's input, as data and as ONE implementation.

Training, calibration, goldens and the device all call `Preprocess.apply`; nothing else in the project
may resize, crop or normalize an image.

The steps and their rounding are torchvision's (`torchvision.transforms._presets.ImageClassification` on a
Pillow image), so weights published with those transforms see the pixels they were trained on.
"""

from __future__ import annotations

import io
import math
import os
import warnings
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from edge_tl.target.errors import BadImage, BundleError

# Pillow only warns between one and two times its limit; a decompression bomb is a bomb at any size.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)

ImageSource = Image.Image | str | os.PathLike[str] | bytes

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RESIZE_POLICIES = ("shorter", "exact", "none")


def decode(source: ImageSource) -> Image.Image:
    """Decode to an upright 8-bit RGB Pillow image: EXIF orientation applied, every pixel read.

    Grayscale, palette, CMYK and alpha become RGB as Pillow converts them (alpha is dropped, as
    torchvision's loader does); 16-bit grayscale is scaled to 8 bits, where Pillow would clip it to white.

    Raises `BadImage` when the source is missing, truncated, no image, or larger than Pillow's bomb limit.
    """
    name = source if isinstance(source, str | os.PathLike) else "image in memory"
    try:
        if isinstance(source, Image.Image):
            return _upright_rgb(source)
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            return _upright_rgb(image)
    except FileNotFoundError:
        raise BadImage(str(name), "no such file") from None
    except IsADirectoryError:
        raise BadImage(str(name), "a folder, not an image file") from None
    except UnidentifiedImageError:
        raise BadImage(str(name), "not an image that Pillow can read") from None
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadImage(str(name), f"too many pixels ({error})") from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, MemoryError, RuntimeError) as error:
        # Pillow's decoders raise all of these on broken files; the message is theirs.
        raise BadImage(str(name), str(error) or type(error).__name__) from None


def _upright_rgb(image: Image.Image) -> Image.Image:
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # 16-bit grey levels, which Pillow's conversion would clip to white
        levels = np.asarray(image).astype(np.float64) / 256
        return Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "P":
        image.info.pop("transparency", None)  # dropped by the conversion anyway, with a warning
    # A copy, since the file behind the image is closed.
    return image.copy() if image.mode == "RGB" else image.convert("RGB")


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

    def __post_init__(self) -> None:
        if self.resize not in RESIZE_POLICIES:
            raise BundleError(f"preprocess.resize: {self.resize!r}. Use one of {', '.join(RESIZE_POLICIES)}.")
        if self.interpolation not in INTERPOLATIONS:
            raise BundleError(
                f"preprocess.interpolation: {self.interpolation!r}. Use one of {', '.join(INTERPOLATIONS)}."
            )
        if (self.color, self.layout, self.exif_transpose) != ("RGB", "NCHW", True):
            raise BundleError(
                f"preprocess: color {self.color!r}, layout {self.layout!r}, exif_transpose "
                f"{self.exif_transpose!r}. This version reads RGB, NCHW, true; use the edge-tl that wrote it."
            )
        for name, sizes, count in (("resize_size", self.resize_size, 2), ("crop", self.crop, 2)):
            if sizes is not None and not (
                isinstance(sizes, tuple)
                and len(sizes) == count
                and all(type(v) is int and v > 0 for v in sizes)
            ):
                raise BundleError(f"preprocess.{name}: {sizes!r}. It is [height, width] in pixels.")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if not (
                isinstance(values, tuple)
                and len(values) == 3
                and all(type(v) in (int, float) and math.isfinite(v) for v in values)
                and (name == "mean" or min(values) > 0)
            ):
                raise BundleError(f"preprocess.{name}: {values!r}. It is three finite numbers, R, G, B.")
        if self.crop is None and self.resize != "exact":
            raise BundleError("preprocess.crop: null needs resize 'exact', or images would differ in size.")

    @property
    def input_size(self) -> tuple[int, int]:
        """`(height, width)` of the model's input."""
        return self.crop or self.resize_size

    def pixels(self, source: ImageSource) -> NDArray[np.uint8]:
        """Upright, resized and cropped: uint8 `(H, W, 3)`. Raises `BadImage`."""
        whole = self.resized(source)
        return _center_crop(whole, self.crop) if self.crop else whole

    def resized(self, source: ImageSource) -> NDArray[np.uint8]:
        """`pixels` before the crop: upright and resized, uint8 `(h, w, 3)`. Raises `BadImage`."""
        image = decode(source)
        width, height = image.size
        target = (width, height)
        if self.resize == "exact":
            target = (self.resize_size[1], self.resize_size[0])
        elif self.resize == "shorter":
            size = self.resize_size[0]
            # torchvision truncates the longer side, it does not round it.
            target = (
                (size, int(size * height / width)) if width <= height else (int(size * width / height), size)
            )
        if target[0] * target[1] > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise BadImage(
                "image", f"{width} x {height} is too narrow: resized it would be {target[0]} x {target[1]}"
            )
        if target != image.size:
            image = image.resize(target, INTERPOLATIONS[self.interpolation])
        return np.asarray(image)

    def normalize(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 `(..., H, W, 3)` to float32 `(..., 3, H, W)`: `(pixels / 255 - mean) / std`, in that order, in
        float32, which is bit for bit what torchvision computes."""
        scaled = pixels.astype(np.float32) / np.float32(255)
        scaled = (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)
        return np.ascontiguousarray(np.moveaxis(scaled, -1, -3))

    def apply(self, source: ImageSource) -> NDArray[np.float32]:
        """An image (Pillow image, path or encoded bytes) to the model's input, float32 `(3, H, W)`.

        Raises `BadImage` when it cannot be decoded.
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
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Preprocess:
        """Raises `BundleError` on an unknown or ill-typed field: a contract half understood is not obeyed."""
        known = {field.name for field in fields(cls)}
        if unknown := set(record) - known:
            raise BundleError(
                f"preprocess: unknown field {sorted(unknown)[0]!r}. A newer edge-tl wrote it; update this one."
            )
        try:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
            return cls(**values)
        except TypeError as error:
            raise BundleError(f"preprocess: {error}. The bundle is damaged; copy it again.") from None


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
