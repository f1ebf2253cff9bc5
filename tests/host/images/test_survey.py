"""What one pass over the images says: which are bad, and the statistics of all pixels, against numpy's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening import Listening
from PIL import Image

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import SILENT
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images import listing
from edge_tl.host.images.dataset import Sample, sources
from edge_tl.host.images.survey import survey_images

CONTRACT = Preprocess(resize_size=(20, 20), crop=(16, 16))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Sample]]:
    """37 images of many shapes and colours, two that are none."""
    root = tmp_path_factory.mktemp("survey")
    rng = np.random.default_rng(0)
    for i in range(37):
        folder = root / "ab"[i % 2]
        folder.mkdir(exist_ok=True)
        level = rng.integers(0, 256, 3)
        noise = rng.integers(-60, 60, (20 + i, 60 - i, 3))
        Image.fromarray((level + noise).clip(0, 255).astype(np.uint8)).save(folder / f"{i}.png")
    for label in "ab":
        (root / label / "bad.png").write_text(f"text {label}")
    return root, listing.list_images(root).samples


def test_mean_and_deviation_are_those_of_all_pixels(pictures: tuple[Path, list[Sample]]):
    root, samples = pictures
    found = survey_images(CONTRACT, samples, sources(root, samples), SILENT)
    good = [s for s in samples if s.digest not in found.bad]
    assert len(good) == 37
    some = good[::2]  # training images only
    pixels = np.stack([CONTRACT.pixels(p) for p in sources(root, some)]).reshape(-1, 3) / 255
    fitted = found.normalized(CONTRACT, some)
    np.testing.assert_allclose(fitted.mean, pixels.mean(0), atol=1e-6)
    np.testing.assert_allclose(fitted.std, pixels.std(0), atol=1e-6)
    inputs = np.stack([fitted.apply(p) for p in sources(root, some)])
    np.testing.assert_allclose(inputs.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(inputs.std((0, 2, 3)), 1, atol=1e-4)
    assert (fitted.resize_size, fitted.crop, fitted.interpolation) == ((20, 20), (16, 16), "bilinear")
    assert found.normalized(CONTRACT, good[1::2]) != fitted


def test_the_contracts_own_normalization_does_not_matter(pictures: tuple[Path, list[Sample]]):
    root, samples = pictures
    other = Preprocess(resize_size=(20, 20), crop=(16, 16), mean=(0.1, 0.2, 0.3), std=(5.0, 6.0, 7.0))
    results = []
    for contract in (CONTRACT, other):
        found = survey_images(contract, samples, sources(root, samples), SILENT)
        results.append(found.normalized(contract, [s for s in samples if s.digest not in found.bad]))
    assert results[0] == results[1]


def test_what_cannot_be_decoded_is_named_by_its_content(pictures: tuple[Path, list[Sample]]):
    root, samples = pictures
    calls: list[Any] = []
    found = survey_images(
        CONTRACT, samples, sources(root, samples), Listening(progress=lambda *call: calls.append(call))
    )
    bad = {s.digest for s in samples if s.path.endswith("bad.png")}
    assert set(found.bad) == bad
    assert all("not an image" in reason for reason in found.bad.values())
    assert set(found.moments) == {s.digest for s in samples} - bad
    assert calls[-1] == ("survey", 39, 39)


def test_a_channel_that_never_varies_is_refused(tmp_path: Path):
    for label in "ab":
        (tmp_path / label).mkdir()
        for i in range(3):
            picture = np.zeros((30, 30, 3), np.uint8)
            picture[..., :2] = np.random.default_rng([i, ord(label)]).integers(0, 256, (30, 30, 2))
            Image.fromarray(picture).save(tmp_path / label / f"{i}.png")
    samples = listing.list_images(tmp_path).samples
    found = survey_images(CONTRACT, samples, sources(tmp_path, samples), SILENT)
    with pytest.raises(BadInput, match=r"0\.0000.* Use normalize: weights"):
        found.normalized(CONTRACT, samples)
