"""Augmentation of whole batches where their pixels are, on a GPU above all. Reads no file.

Workers that touch no pixel draw the random numbers image by image, from the seeds and by the torchvision transforms of
`augment.image_transform`; the pixels of a batch are then computed together. So an image of an epoch looks the same
whichever way it is made, but for the rounding of 8-bit values between steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import grid_sample
from torch.utils.data import Dataset

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images import augment
from edge_tl.host.images.batches import SampleKey
from edge_tl.host.images.pixel_cache import PixelCache
from edge_tl.host.recipe.schema import Augment
from edge_tl.host.seeded import derive_seed
from edge_tl.host.torchvision_ import v2

# Of the row of numbers drawn for an image: where each group of them is.
_EPOCH, _IMAGE = 0, 1
_BOX = slice(
    2, 6
)  # top, left, height, width in pixels of the stored image; fractions where nothing is random
_FLIP, _UPSIDE_DOWN = 6, 7
_MATRIX = slice(8, 12)  # from a pixel of the result to one of the image, both from their centres
_ORDER, _FACTORS = slice(12, 16), slice(16, 19)  # of brightness 0, contrast 1, saturation 2
_ERASED = slice(19, 23)  # top, left, height, width in pixels of the result
_COUNT = 23
PIECE_BYTES = 256 << 20  # of padded float32 pixels; moving and resizing them takes a few times as much
_GREY = (0.2989, 0.587, 0.114)  # torchvision's weights of R, G, B


def is_supported(settings: Augment) -> bool:
    """Whether batches can be made together: policies and hue are augmented by workers, image by image."""
    asked = augment.augment_settings(settings)
    return asked.policy == "none" and not asked.hue


class AugmentParameters(Dataset[torch.Tensor]):
    """For a `SampleKey`, the numbers that say how that image looks in that epoch: float64 `(23,)`.

    `sizes` are the training sizes of the epochs, `shapes` the (height, width) of the images."""

    def __init__(
        self,
        shapes: Sequence[tuple[int, int]],
        settings: Augment,
        sizes: Sequence[int],
        contract: Preprocess,
        seed: int,
    ) -> None:
        self.shapes, self.sizes, self.contract, self.seed = shapes, sizes, contract, seed
        self.transforms = {size: augment.image_transform(settings, size, contract) for size in set(sizes)}

    def __getitem__(self, key: SampleKey) -> torch.Tensor:
        epoch, i = key
        size = self.sizes[min(epoch, len(self.sizes) - 1)]
        torch.default_generator.manual_seed(derive_seed(self.seed, "augment", epoch, i))
        row = torch.zeros(_COUNT, dtype=torch.float64)
        row[_EPOCH], row[_IMAGE] = epoch, i
        row[_BOX] = torch.tensor(_frame(self.shapes[i], size, self.contract))
        row[_MATRIX] = torch.tensor([1.0, 0.0, 0.0, 1.0])
        row[_FACTORS] = 1.0
        for transform in self.transforms[size].transforms:
            _record(transform, row, self.shapes[i], size)
        return row


def _record(transform: v2.Transform, row: torch.Tensor, shape: tuple[int, int], size: int) -> None:
    """What `transform` draws, in the order in which it would."""
    before = [torch.empty(3, *shape, device="meta")]
    if isinstance(transform, v2.RandomAffine):
        row[_MATRIX] = torch.tensor(_inverse(**transform.make_params(before)))
    elif isinstance(transform, v2.RandomResizedCrop):
        box = transform.make_params(before)
        row[_BOX] = torch.tensor([float(box[key]) for key in ("top", "left", "height", "width")])
    elif isinstance(transform, v2.RandomHorizontalFlip):
        row[_FLIP] = float(torch.rand(1) < transform.p)
    elif isinstance(transform, v2.RandomVerticalFlip):
        row[_UPSIDE_DOWN] = float(torch.rand(1) < transform.p)
    elif isinstance(transform, v2.ColorJitter):
        drawn = transform.make_params([])
        row[_ORDER] = drawn["fn_idx"].double()
        found = (drawn[f"{name}_factor"] for name in ("brightness", "contrast", "saturation"))
        row[_FACTORS] = torch.tensor([1.0 if value is None else value for value in found])
    elif isinstance(transform, v2.RandomErasing) and torch.rand(1) < transform.p:
        box = transform.make_params([torch.empty(3, size, size, device="meta")])
        if box["v"] is not None:
            row[_ERASED] = torch.tensor([float(box[key]) for key in ("i", "j", "h", "w")])


def _frame(shape: tuple[int, int], size: int, contract: Preprocess) -> list[float]:
    """The part of an image of `shape`, resized as the contract does it, that its crop shows: top, left, height, width.
    Beyond the image where the crop pads it with black."""
    if contract.crop is None:
        return [0.0, 0.0, float(shape[0]), float(shape[1])]
    resized = augment.contract_at_size(contract, size).resize_size
    if contract.resize == "exact":
        sides = [size * side / whole for side, whole in zip(shape, resized, strict=True)]
    elif contract.resize == "shorter":
        sides = [size * min(shape) / resized[0]] * 2
    else:
        sides = [float(side) for side in contract.crop]
    starts = [(side - shown) / 2 for side, shown in zip(shape, sides, strict=True)]
    # Of whole pixels the crop's rounding is the contract's.
    return [
        *(float(round(at)) if shown == int(shown) else at for at, shown in zip(starts, sides, strict=True)),
        *sides,
    ]


def _inverse(angle: float, translate: Any, scale: float, shear: tuple[float, float]) -> list[float]:
    """The inverse of rotation, zoom and shear as `torchvision.transforms.v2.functional.affine` composes them."""
    turn, x, y = math.radians(angle), math.radians(shear[0]), math.radians(shear[1])
    a = math.cos(turn - y) / math.cos(y)
    b = -(a * math.tan(x) + math.sin(turn))
    c = math.sin(turn - y) / math.cos(y)
    d = math.cos(turn) - c * math.tan(x)
    return [d / scale, -b / scale, -c / scale, a / scale]


@dataclass(frozen=True)
class GpuAugment:
    """Batches of a resident `store` from rows that `AugmentParameters` drew, as `contract` resamples."""

    store: PixelCache
    sizes: Sequence[int]
    contract: Preprocess

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        """uint8 `(n, 3, size, size)` on the store's device of float64 `(n, 23)` on the CPU."""
        numbers = rows.tolist()
        size = self.sizes[min(int(numbers[0][_EPOCH]), len(self.sizes) - 1)]
        return augment_batch(
            [self.store[int(row[_IMAGE])] for row in numbers], numbers, size, self.contract.interpolation
        )


def augment_batch(
    images: Sequence[torch.Tensor], rows: Sequence[Sequence[float]], size: int, interpolation: str
) -> torch.Tensor:
    """uint8 `(3, h, w)` of any sizes, on one device, to uint8 `(n, 3, size, size)`, as their rows of numbers say.

    Images are padded to each other's size, in pieces of at most `PIECE_BYTES`: a panorama beside a portrait would take
    gigabytes."""
    done, start = [], 0
    while start < len(images):
        high = wide = 0
        for end in range(start, len(images)):
            high, wide = max(high, images[end].shape[1]), max(wide, images[end].shape[2])
            if end > start and (end + 1 - start) * 3 * high * wide * 4 > PIECE_BYTES:
                break
        else:
            end = len(images)
        done.append(_piece(images[start:end], rows[start:end], size, interpolation))
        start = end
    return torch.cat(done)


def _piece(
    images: Sequence[torch.Tensor], rows: Sequence[Sequence[float]], size: int, interpolation: str
) -> torch.Tensor:
    device = images[0].device
    high, wide = max(i.shape[1] for i in images), max(i.shape[2] for i in images)
    pixels = torch.zeros(len(images), 3, high, wide, device=device)
    for n, image in enumerate(images):
        pixels[n, :, : image.shape[1], : image.shape[2]] = image

    def of(part: slice) -> torch.Tensor:
        return torch.tensor([list(row[part]) for row in rows], dtype=torch.float32, device=device)

    if any(tuple(row[_MATRIX]) != (1, 0, 0, 1) for row in rows):
        shapes = torch.tensor([i.shape[1:] for i in images], dtype=torch.float32, device=device)
        pixels = _bent(pixels, of(_MATRIX), shapes, "nearest" if interpolation == "nearest" else "bilinear")
    box = of(_BOX)
    down = _weights(box[:, 0], box[:, 2], size, high, interpolation)
    across = _weights(box[:, 1], box[:, 3], size, wide, interpolation)
    pixels = (down[:, None] @ pixels @ across[:, None].mT).round_().clamp_(0, 255)
    for column, axis in ((_FLIP, 3), (_UPSIDE_DOWN, 2)):
        if turned := [n for n, row in enumerate(rows) if row[column]]:
            pixels[turned] = pixels[turned].flip(axis)
    pixels = _jittered(pixels, rows)
    for n, row in enumerate(rows):
        top, left, height, width = (int(v) for v in row[_ERASED])
        pixels[n, :, top : top + height, left : left + width] = 0
    return pixels.to(torch.uint8)


def _bent(pixels: torch.Tensor, matrix: torch.Tensor, shapes: torch.Tensor, mode: str) -> torch.Tensor:
    """Each image `(3, high, wide)` moved by its matrix about the centre of its own shape; black comes in."""
    high, wide = pixels.shape[2:]
    y = torch.arange(high, device=pixels.device)[None, :, None] - (shapes[:, 0, None, None] - 1) / 2
    x = torch.arange(wide, device=pixels.device)[None, None, :] - (shapes[:, 1, None, None] - 1) / 2
    a, b, c, d = (matrix[:, k, None, None] for k in range(4))
    sx = a * x + b * y + (shapes[:, 1, None, None] - 1) / 2
    sy = c * x + d * y + (shapes[:, 0, None, None] - 1) / 2
    grid = torch.stack([(2 * sx + 1) / wide - 1, (2 * sy + 1) / high - 1], -1)
    inside = (torch.arange(high, device=pixels.device)[None, :, None] < shapes[:, 0, None, None]) & (
        torch.arange(wide, device=pixels.device)[None, None, :] < shapes[:, 1, None, None]
    )
    both = torch.cat([pixels, inside[:, None].float()], 1)
    moved = grid_sample(both, grid, mode=mode, padding_mode="zeros", align_corners=False)
    return (moved[:, :3] * moved[:, 3:]).round_()  # torchvision darkens the edge twice, too


def _weights(start: torch.Tensor, length: torch.Tensor, size: int, extent: int, kind: str) -> torch.Tensor:
    """float32 `(n, size, extent)`: how much each of `extent` pixels in a line counts for each of `size`, which show the
    part from `start` over `length`; antialiased as Pillow and torchvision do it."""
    scale = (length / size)[:, None, None]
    i = torch.arange(size, device=start.device)[None, :, None]
    j = torch.arange(extent, device=start.device)[None, None, :] - start[:, None, None]
    if kind == "nearest":
        return ((i * scale).floor() == j.round()).float()
    weights = _KERNELS[kind]((j + 0.5 - (i + 0.5) * scale) / scale.clamp(min=1))
    weights = weights * ((j > -0.5) & (j + 0.5 < length[:, None, None]))
    total = weights.sum(2, keepdim=True)
    return weights / torch.where(total.abs() < 1e-6, 1.0, total)  # none: black beyond the image


def _linear(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp(min=0)


def _cubic(x: torch.Tensor) -> torch.Tensor:
    x = x.abs()  # a = -1/2, Pillow's, as torch's where it antialiases
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))


def _lanczos(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), 0.0)


_KERNELS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "bilinear": _linear,
    "bicubic": _cubic,
    "lanczos": _lanczos,
}


def _jittered(pixels: torch.Tensor, rows: Sequence[Sequence[float]]) -> torch.Tensor:
    """Brightness, contrast and saturation in each image's own order, whole levels after each, as torchvision's."""
    grey = torch.tensor(_GREY, device=pixels.device)[:, None, None]
    for place in range(4):
        for what in range(3):
            chosen = [
                n
                for n, row in enumerate(rows)
                if row[_ORDER][place] == what and row[_FACTORS][what] != 1 and any(row[_ORDER])
            ]
            if not chosen:
                continue
            some = pixels[chosen]
            factors = [rows[n][_FACTORS][what] for n in chosen]
            factor = torch.tensor(factors, dtype=torch.float32, device=pixels.device)[:, None, None, None]
            other = torch.zeros_like(some)
            if what:
                other = (some * grey).sum(1, keepdim=True).floor_()
            if what == 1:
                other = other.mean((1, 2, 3), keepdim=True)
            pixels[chosen] = (some * factor + other * (1 - factor)).clamp_(0, 255).floor_()
    return pixels
