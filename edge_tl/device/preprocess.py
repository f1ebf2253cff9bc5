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
from edge_tl.device.images.frame import (
    centre_crop,
    centre_offset,
    fitted_size,
    padded,
    size_by_shorter_side,
)
from edge_tl.device.images.reading import with_retries

INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RESIZE_POLICIES = ("shorter", "exact", "letterbox", "none")
_OPTIONAL = {"pad", "five_crop"}  # keys of a record that are there only where they hold something
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
    `resize_size`), "letterbox" (the largest size that fits into `resize_size`, aspect kept, in the middle of a frame of
    the colour `pad`; `frame.fitted_size` has the rounding) or "none". `crop` cuts the centre, padding with black where
    the image is smaller.
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
    pad: tuple[int, int, int] | None = None
    """Of a letterbox, and of nothing else: 8-bit levels R, G, B around the image."""
    five_crop: tuple[int, int] | None = None
    """What the model itself does with its input, and nobody else: it cuts parts of this size from the four corners and
    the centre and answers with the mean of their logits (Krizhevsky et al., 2012). None: it takes its input whole."""
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
        of_sizes = {"resize_size": self.resize_size, "crop": self.crop, "five_crop": self.five_crop}
        for name, sizes in of_sizes.items():
            if sizes is not None and not (
                isinstance(sizes, tuple)
                and len(sizes) == 2
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
        self._check_policy()

    def _check_policy(self) -> None:
        """Raises `BundleError` for fields that do not belong together."""
        if self.crop is None and self.resize not in ("exact", "letterbox"):
            raise BundleError(
                "preprocess.crop: null needs resize 'exact' or 'letterbox', or images would differ in size."
            )
        if self.crop is not None and self.resize == "letterbox":
            raise BundleError(f"preprocess.crop: {self.crop!r}. A letterbox is not cropped: null.")
        of_levels = isinstance(self.pad, tuple) and len(self.pad) == 3
        if self.pad is not None and not (
            of_levels and all(type(level) is int and 0 <= level <= 255 for level in self.pad)
        ):
            raise BundleError(f"preprocess.pad: {self.pad!r}. It is three levels from 0 to 255, R, G, B.")
        if (self.pad is not None) != (self.resize == "letterbox"):
            raise BundleError(
                f"preprocess.pad: {self.pad!r} with resize {self.resize!r}. A letterbox has a colour, nothing else has."
            )
        if self.five_crop is not None and not (
            self.crop is not None
            and self.five_crop != self.crop
            and all(part <= whole for part, whole in zip(self.five_crop, self.crop, strict=True))
        ):
            raise BundleError(
                f"preprocess.five_crop: {self.five_crop!r} with crop {self.crop!r}. It is smaller than the crop."
            )

    @property
    def input_size(self) -> tuple[int, int]:
        """`(height, width)` of the model's input."""
        return self.crop or self.resize_size

    def single_crop(self) -> Preprocess:
        """The contract of the classifier that looks at the five crops, which is what is trained; itself without."""
        return replace(self, crop=self.five_crop, five_crop=None) if self.five_crop else self

    def framing(self) -> str:
        """Resize, crop and padding in a few words."""
        high, wide = self.resize_size
        how = {"shorter": f"shorter side to {high}", "none": "not resized"}.get(
            self.resize, f"{self.resize} {high}x{wide}"
        )
        if self.pad:
            how += ", bars of " + "/".join(map(str, self.pad))
        if self.crop:
            how += f", centre {self.crop[0]}x{self.crop[1]}"
        return how + (
            f", of that five crops of {self.five_crop[0]}x{self.five_crop[1]}" if self.five_crop else ""
        )

    def shown(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """The part of an upright image of `size`, `(width, height)`, that the model sees: left, top, right and bottom
        in fractions of its sides. Raises `BadImage` as `pixels` does."""
        left, top, right, bottom = self.input_box(size)
        width, height = size
        return (
            max(left, 0.0) / width,
            max(top, 0.0) / height,
            min(right / width, 1.0),
            min(bottom / height, 1.0),
        )

    def input_box(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Where the model's input lies on an upright image of `size`, `(width, height)`: left, top, right and bottom in
        pixels of the image, beyond its edges where the input is padded. Raises `BadImage` as `pixels` does."""
        wide, high = self._size_after_resize(size, "image in memory")
        height, width = self.input_size
        left, top = centre_offset(wide, width), centre_offset(high, height)
        across, down = size[0] / wide, size[1] / high
        return left * across, top * down, (left + width) * across, (top + height) * down

    def pixels(self, source: ImageSource) -> NDArray[np.uint8]:
        """Upright, resized and cropped: uint8 `(H, W, 3)`. Raises `BadImage`, `ReadError`."""
        return self.framed(source).pixels

    def framed(self, source: ImageSource | Decoded) -> Framed:
        """`pixels`, and what had to be assumed to get there; `source` may be decoded already, by `examine`. Raises
        `BadImage`, `ReadError`."""
        whole = self._whole(source)
        return replace(whole, pixels=self.cropped(whole.pixels))

    def cropped(self, resized: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The part of a resized image `(h, w, 3)` that the model sees: `(H, W, 3)`."""
        return centre_crop(resized, self.crop) if self.crop else resized

    def resized(self, source: ImageSource | Decoded) -> NDArray[np.uint8]:
        """`pixels` before the crop: upright, resized and, of a letterbox, padded; uint8 `(h, w, 3)`. Raises `BadImage`,
        `ReadError`."""
        return self._whole(source).pixels

    def _whole(self, source: ImageSource | Decoded) -> Framed:
        decoded = source if isinstance(source, Decoded) else examine(source, max_pixels=self.max_pixels)
        name = "image in memory" if isinstance(source, Image.Image | bytes | Decoded) else str(source)
        new_size = self._size_after_resize(decoded.image.size, name)
        whole = with_retries(name, lambda: self._shrunk(decoded.image, new_size, decoded.remark))
        return replace(whole, pixels=padded(whole.pixels, self.resize_size, self.pad)) if self.pad else whole

    def _size_after_resize(self, size: tuple[int, int], name: str) -> tuple[int, int]:
        """`(width, height)` after the resize. Raises `BadImage` for a sliver that would become a bomb."""
        width, height = new_size = size
        if self.resize == "exact":
            new_size = (self.resize_size[1], self.resize_size[0])
        elif self.resize == "letterbox":
            new_size = fitted_size(size, (self.resize_size[1], self.resize_size[0]))
        elif self.resize == "shorter":
            new_size = size_by_shorter_side(size, self.resize_size[0])
        # The columns are resized first, whatever their length.
        if new_size[0] * max(new_size[1], height) > pixel_limit(self.max_pixels):
            reason = f"{width} x {height} is too narrow: resized it would be {new_size[0]} x {new_size[1]}"
            raise BadImage(name, reason, of_bytes=False)
        return new_size

    def _shrunk(self, image: Image.Image, new_size: tuple[int, int], remark: str | None) -> Framed:
        resized = image
        # Columns first, each a pass of its own: in one call Pillow 13 takes the rows of a tall image first, Pillow 12
        # never does, and what is rounded between the passes then differs by up to 26 levels.
        for size in ((new_size[0], image.height), new_size):
            if size != resized.size:
                resized = resized.resize(size, INTERPOLATIONS[self.interpolation])
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
        # Where they say nothing, older versions still read the record.
        said = {k: v for k, v in values.items() if v is not None or k not in _OPTIONAL}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in said.items()}

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
        if missing := sorted(known - set(record) - _OPTIONAL):
            raise BundleError(f"preprocess: no {missing[0]!r}. The file is damaged; copy it again.")
        try:
            values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
            return cls(**values)
        except TypeError as error:
            raise BundleError(f"preprocess: {error}. The bundle is damaged; copy it again.") from None


def _alike(image: Image.Image) -> bool:
    """Whether an RGB image is of one colour; a difference of one level is noise."""
    right, low = image.width - 1, image.height - 1
    # Five pixels tell of nearly every photograph; all of them take a sixth of its decoding, and no thread runs beside.
    places = ((0, 0), (right // 2, low // 2), (right, low), (right, 0), (0, low))
    few: Any = zip(*(image.getpixel(place) for place in places), strict=True)
    if any(max(levels) - min(levels) > 1 for levels in few):
        return False
    return all(most - least <= 1 for least, most in image.getextrema())  # type: ignore[misc]
