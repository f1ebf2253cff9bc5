"""Mistakes made by code of its own, named from the answers on golden images."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from device import conftest
from PIL import Image, ImageOps

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.diagnosis import diagnose as diagnosing
from edge_tl.device.diagnosis.answers import Answers, answers_of
from edge_tl.device.diagnosis.diagnose import diagnose
from edge_tl.device.diagnosis.odd_files import is_odd
from edge_tl.device.diagnosis.search import Search
from edge_tl.device.runtimes.open import open_runtime

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
KINDS = ["logits", "probabilities", "decimals", "top1"]


def encoded(seed: int) -> bytes:
    buffer = io.BytesIO()
    image = conftest.picture(seed, width=60 + 9 * (seed % 5), height=50 + 13 * (seed % 3))
    exif = Image.Exif()
    exif[0x0112] = 6 if seed % 5 == 1 else 1
    image.save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    """A bundle of 24 golden images, of which what was run once is kept."""
    root = tmp_path_factory.mktemp("diagnosis") / "tiny"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "goldens", lambda: {f"{i:02d}.jpg": encoded(i) for i in range(24)})
        conftest.build(root)
    return Search(read_bundle(root))


def mistaken(path: Path, made: set[str]) -> np.ndarray:
    """The contract of the tiny bundle, written once more by hand, with what is `made` wrong."""
    image: Image.Image = Image.open(path)
    if "exif_ignored" not in made:
        image = ImageOps.exif_transpose(image)
    pixels = image.convert("RGB")
    if "squash" in made:
        pixels = pixels.resize((16, 16), Image.Resampling.BILINEAR)
    elif "crop_first" in made:
        side = min(pixels.size)
        left, top = (pixels.width - side) // 2, (pixels.height - side) // 2
        pixels = pixels.crop((left, top, left + side, top + side)).resize((16, 16), Image.Resampling.BILINEAR)
    else:
        short = min(pixels.size)
        size = (int(20 * pixels.width / short), int(20 * pixels.height / short))
        pixels = resized(pixels, size, made)
        left, top = round((size[0] - 16) / 2), round((size[1] - 16) / 2)
        pixels = pixels.crop((left, top, left + 16, top + 16))
    values = np.asarray(pixels).astype(np.float64)
    if "level" in made:
        values = (values + np.random.default_rng(0).integers(-1, 2, values.shape)).clip(0, 255)
    if "bgr" in made:
        values = values[:, :, ::-1]
    values = values / {"no_scale": 1, "double_scale": 65025}.get(
        next(iter(made & {"no_scale", "double_scale"}), ""), 255
    )
    if "wrong_unit" in made:
        values = (values - 255 * MEAN) / STD
    elif "no_mean_std" not in made:
        values = (values - MEAN) / STD
    if "double_normalize" in made:
        values = (values - MEAN) / STD
    if "nhwc" in made:
        return values.reshape(3, 16, 16).astype(np.float32)
    return np.stack([values[:, :, channel] for channel in range(3)]).astype(np.float32)


def resized(image: Image.Image, size: tuple[int, int], made: set[str]) -> Image.Image:
    if "bicubic" in made:
        return image.resize(size, Image.Resampling.BICUBIC)
    if not made & {"opencv_bilinear", "nearest"}:
        return image.resize(size, Image.Resampling.BILINEAR)
    cv2 = pytest.importorskip("cv2", reason="OpenCV makes this mistake, and is not installed here")
    kernel = cv2.INTER_LINEAR if "opencv_bilinear" in made else cv2.INTER_NEAREST
    return Image.fromarray(cv2.resize(np.asarray(image), size, interpolation=kernel))


def logits_of(bundle: Bundle, made: set[str], artifact: str = "onnx-fp32") -> np.ndarray:
    runtime = open_runtime(bundle.artifact(artifact).path)
    return np.concatenate([runtime(mistaken(path, made)[None]) for path in bundle.golden_images()])


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def answers(logits: np.ndarray, kind: str) -> Answers:
    images = np.arange(len(logits))
    if kind == "top1":
        return Answers("top1", images, None, logits.argmax(axis=1))
    if kind == "logits":
        return answers_of(images, logits.astype(np.float64), 0.0)
    values = softmax(logits)
    return (
        answers_of(images, values, 0.0)
        if kind == "probabilities"
        else answers_of(images, values.round(3), 1e-3)
    )


SINGLE = (
    "bgr no_scale double_scale no_mean_std wrong_unit double_normalize opencv_bilinear nearest bicubic squash "
    "crop_first exif_ignored nhwc"
).split()


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
@pytest.mark.parametrize("mistake", SINGLE)
def test_a_mistake_is_named(search: Search, mistake: str, kind: str) -> None:
    found = diagnose(search.bundle, answers(logits_of(search.bundle, {mistake}), kind), search=search)
    assert found.outcome == "mistake", found
    assert found.matches[0].mistake == mistake, found
    assert found.matches[0].correlation > 0.99


@pytest.mark.parametrize("made", ["bgr+squash", "bgr+no_scale", "no_mean_std+nhwc", "bgr+exif_ignored"])
def test_two_mistakes_are_named(search: Search, made: str) -> None:
    logits = logits_of(search.bundle, set(made.split("+")))
    found = diagnose(search.bundle, answers(logits, "logits"), search=search)
    assert found.outcome == "mistake"
    assert made in [match.mistake for match in found.matches] or found.closest, found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("artifact", list(conftest.ARTIFACTS))
@pytest.mark.parametrize("made", [set(), {"level"}], ids=["exact", "a level apart"])
def test_a_right_pipeline_is_not_accused(search: Search, artifact: str, kind: str, made: set[str]) -> None:
    found = diagnose(search.bundle, answers(logits_of(search.bundle, made, artifact), kind), search=search)
    assert (found.outcome, found.matches) == ("reference", ()), found


@pytest.mark.parametrize("kind", KINDS)
def test_labels_in_another_order(search: Search, kind: str) -> None:
    logits = logits_of(search.bundle, set())[:, [2, 0, 1]]
    found = diagnose(search.bundle, answers(logits, kind), search=search)
    assert [match.mistake for match in found.matches] == ["label_order"], found


def test_softmax_twice_and_a_sigmoid_in_its_place(search: Search) -> None:
    logits, images = logits_of(search.bundle, set()), np.arange(24)
    twice = diagnose(search.bundle, answers_of(images, softmax(softmax(logits)), 0.0), search=search)
    assert [match.mistake for match in twice.matches] == ["double_softmax"]
    each = diagnose(
        search.bundle, answers_of(images, 1 / (1 + np.exp(-logits.astype(np.float64))), 0.0), search=search
    )
    assert [match.mistake for match in each.matches] == ["no_softmax"]
    meant = answers_of(images, logits.astype(np.float64), 0.0, "probabilities")
    assert diagnose(search.bundle, meant, search=search).matches[0].mistake == "no_softmax"


def random_logits(search: Search, number: int) -> np.ndarray:
    """Noise, an answer that hardly changes, and two kinds of random networks."""
    rng = np.random.default_rng(number)
    pixels = search.bundle.golden_pixels()
    flat = pixels[:, :, ::4, ::4].reshape(len(pixels), -1)
    kinds: list[Callable[[], np.ndarray]] = [
        lambda: rng.normal(0, 3, (24, 3)),
        lambda: rng.normal(0, 3, 3) + rng.normal(0, 0.1, (24, 3)),
        lambda: flat @ rng.normal(0, 1, (flat.shape[1], 3)),
        lambda: np.maximum(flat @ rng.normal(0, 1, (flat.shape[1], 32)), 0) @ rng.normal(0, 0.3, (32, 3)),
    ]
    return kinds[number % 4]()


def test_another_model_is_nothing_known(search: Search) -> None:
    for number in range(100):
        found = diagnose(search.bundle, answers(random_logits(search, number), "logits"), search=search)
        assert found.outcome == "unknown", (number, found)
    other = open_runtime(conftest.ASSETS / "other.onnx")
    logits = np.concatenate([other(one[None]) for one in search.bundle.golden_pixels()])
    found = diagnose(search.bundle, answers(logits, "logits"), search=search)
    assert (found.outcome, found.matches[0].mistake) == ("unknown", "other_model")


def test_a_pipeline_that_is_right_on_half_of_the_images_is_no_reference(search: Search) -> None:
    """The median alone called it one: a decoder that misreads every odd kind of file is wrong on a quarter of them."""
    right = logits_of(search.bundle, set())
    for wrong in (4, 10):
        mixed = right.copy()
        mixed[:wrong] = np.roll(right, 7, axis=0)[:wrong]
        found = diagnose(search.bundle, answers(mixed, "logits"), search=search)
        assert found.outcome != "reference", found
        assert found.differs
    one = right.copy()
    one[3] = right[11]  # of a plain JPEG, which every decoder reads alike
    found = diagnose(search.bundle, answers(one, "logits"), search=search)
    assert (found.outcome, len(found.differs)) == ("unknown", 1)


def test_kinds_of_file_that_decoders_differ_on(tmp_path: Path) -> None:
    image = conftest.picture(3, width=40, height=30)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "plain.jpg", exif=exif)
    image.convert("L").save(tmp_path / "grey.png")
    image.convert("CMYK").save(tmp_path / "cmyk.jpg")
    image.convert("RGBA").save(tmp_path / "alpha.png")
    image.save(tmp_path / "a.webp")
    image.save(tmp_path / "damaged.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03")
    Image.fromarray(np.full((9, 9), 700, np.uint16)).save(tmp_path / "wide.png")
    odd = {path.name for path in tmp_path.iterdir() if is_odd(path)}
    assert odd == {"cmyk.jpg", "alpha.png", "a.webp", "damaged.jpg", "wide.png"}


@pytest.mark.parametrize("norm", ["no std", "half"])
def test_other_normalizations_are_no_other_model(search: Search, norm: str) -> None:
    """The advice had been to look for another model file."""
    raw = [mistaken(path, {"no_mean_std"}) for path in search.bundle.golden_images()]
    centre, spread = (MEAN, np.ones(3)) if norm == "no std" else (np.full(3, 0.5), np.full(3, 0.5))
    runtime = open_runtime(search.bundle.artifact("onnx-fp32").path)
    inputs = [((x - centre[:, None, None]) / spread[:, None, None]).astype(np.float32) for x in raw]
    logits = np.concatenate([runtime(x[None]) for x in inputs])
    found = diagnose(search.bundle, answers(logits, "logits"), search=search)
    assert (found.outcome, found.matches[0].mistake) == ("mistake", "no_mean_std")


def test_what_these_images_cannot_show_is_said(search: Search) -> None:
    right = logits_of(search.bundle, set())
    notes = diagnose(search.bundle, answers(right, "top1"), search=search).notes
    assert any("labels alone do not show" in note for note in notes)
    assert not any("red and blue" in note for note in notes)
    grey = np.repeat(search.bundle.golden_pixels()[:, :1], 3, axis=1)
    contract = replace(search.bundle.preprocess, mean=(0.5,) * 3, std=(0.5,) * 3)
    as_grey = SimpleNamespace(preprocess=contract, golden_pixels=lambda: grey)
    said = diagnosing._cannot_be_seen(cast(Bundle, as_grey), answers(right, "logits"))
    assert "red and blue are the same in every golden image" in said[0]


def test_percentages_and_whole_numbers_are_what_they_are(search: Search) -> None:
    right = logits_of(search.bundle, set())
    images = np.arange(len(right))
    percent = answers_of(images, (100 * softmax(right)).round(2), 1e-2)
    assert percent.kind == "probabilities"
    assert diagnose(search.bundle, percent, search=search).outcome == "reference"
    one_hot = np.eye(right.shape[1])[right.argmax(axis=1)]
    assert answers_of(images, one_hot, 1.0).kind == "top1"
    flipped = np.eye(right.shape[1])[(right.argmax(axis=1) + (images % 5 < 2)) % right.shape[1]]
    assert diagnose(search.bundle, answers_of(images, flipped, 1.0), search=search).outcome != "reference"
