"""Bit for bit torchvision's transforms, the ones that travel with the published weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.preprocess import Preprocess

torchvision = pytest.importorskip("torchvision")
hypothesis = pytest.importorskip("hypothesis")
st = pytest.importorskip("hypothesis.strategies")

import torch  # noqa: E402
from torchvision.transforms import (  # noqa: E402
    CenterCrop,
    Compose,
    ConvertImageDtype,
    InterpolationMode,
    Normalize,
    PILToTensor,
    Resize,
)
from torchvision.transforms._presets import ImageClassification  # noqa: E402

PUBLISHED = {
    "MobileNet_V2_Weights.IMAGENET1K_V1": Preprocess(),
    "MobileNet_V2_Weights.IMAGENET1K_V2": Preprocess(resize_size=(232, 232)),
    "EfficientNet_B0_Weights.IMAGENET1K_V1": Preprocess(interpolation="bicubic"),
}
SIZES = [
    (224, 224), (256, 256), (257, 255), (500, 375), (375, 500), (333, 500), (640, 427), (1, 1), (1, 7),
    (7, 1), (3, 5), (223, 900), (901, 224), (231, 233), (1023, 769), (100, 101),
]  # fmt: skip


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def gradient(width: int, height: int) -> Image.Image:
    row, column = np.mgrid[0:height, 0:width]
    planes = [255 * column / max(width - 1, 1), 255 * row / max(height - 1, 1), (row * 7 + column * 3) % 256]
    return Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))


class ColumnsFirst:
    """torchvision's `Resize` to its own size, a pass at a time: on tall images Pillow 13 takes the rows first, earlier
    versions never."""

    def __init__(self, size: int | list[int], interpolation: InterpolationMode) -> None:
        self.size, self.interpolation = size, interpolation

    def __call__(self, image: Image.Image) -> Image.Image:
        width, height = Resize(self.size, self.interpolation)(image).size
        for size in ([image.height, width], [height, width]):
            image = Resize(size, self.interpolation)(image)
        return image


def same_bits(
    contract: Preprocess, transform: Callable[[Image.Image], torch.Tensor], image: Image.Image
) -> bool:
    got, expected = contract.apply(image), transform(image).numpy()
    return got.dtype == expected.dtype and got.shape == expected.shape and got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("size", SIZES, ids="{0[0]}x{0[1]}".format)
def test_published_transforms(name: str, size: tuple[int, int]) -> None:
    architecture, version = name.split(".")
    transform = torchvision.models.get_weight(f"{architecture}.{version}").transforms()
    for image in (noise(*size), gradient(*size)):
        assert same_bits(PUBLISHED[name], transform, image)


@hypothesis.settings(deadline=None, max_examples=300, derandomize=True, database=None)
@hypothesis.given(
    st.integers(1, 150), st.integers(1, 150), st.integers(1, 40), st.integers(1, 50), st.integers(1, 50),
    st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]), st.integers(0, 99),
)  # fmt: skip
def test_any_size_resize_crop_and_interpolation(
    width: int, height: int, resize: int, crop_height: int, crop_width: int, interpolation: str, seed: int
) -> None:
    """Crops larger than the image, where torchvision pads, are among them."""
    hypothesis.assume(max(width, height) <= 40 * min(width, height))
    contract = Preprocess(
        resize_size=(resize, resize), crop=(crop_height, crop_width), interpolation=interpolation
    )
    # ImageClassification's own steps; it takes only square crops.
    transform = Compose(
        [
            ColumnsFirst(resize, InterpolationMode(interpolation)),
            CenterCrop([crop_height, crop_width]),
            PILToTensor(),
            ConvertImageDtype(torch.float),
            Normalize(contract.mean, contract.std),
        ]
    )
    assert same_bits(contract, transform, noise(width, height, seed))


@hypothesis.settings(deadline=None, max_examples=60, derandomize=True, database=None)
@hypothesis.given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40))
def test_exact_is_resize_to_both_sides(width: int, height: int, rows: int, columns: int) -> None:
    contract = Preprocess(resize="exact", resize_size=(rows, columns), crop=None)
    image = noise(width, height)
    expected = np.asarray(ColumnsFirst([rows, columns], InterpolationMode.BILINEAR)(image))
    assert np.array_equal(contract.pixels(image), expected)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_other_modes_are_read_as_torchvisions_loader_reads_them(mode: str, tmp_path: object) -> None:
    from torchvision.datasets.folder import pil_loader

    path = f"{tmp_path}/image.{'tif' if mode == 'CMYK' else 'png'}"
    noise(61, 47).convert(mode).save(path)
    contract = Preprocess(resize_size=(30, 30), crop=(24, 24))
    transform = ImageClassification(crop_size=24, resize_size=30)
    assert contract.apply(path).tobytes() == transform(pil_loader(path)).numpy().tobytes()
