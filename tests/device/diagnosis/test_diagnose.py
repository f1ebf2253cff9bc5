"""Mistakes made by code of its own, named from the answers on golden images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from device import conftest
from device.diagnosis.pipelines import KINDS, MEAN, answers, logits_of, mistaken, random_logits, softmax
from PIL import Image

from edge_tl.device.bundle import read_bundle
from edge_tl.device.diagnosis.answers import answers_of
from edge_tl.device.diagnosis.diagnose import diagnose
from edge_tl.device.diagnosis.odd_files import is_odd
from edge_tl.device.diagnosis.search import Search
from edge_tl.device.runtimes.open import open_runtime

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


def test_another_model_is_nothing_known(search: Search) -> None:
    for number in range(100):
        found = diagnose(
            search.bundle, answers(random_logits(search.bundle, number), "logits"), search=search
        )
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
    assert any("labels alone are no proof" in note for note in notes)
    assert not any("red and blue" in note for note in notes)
    asked = diagnose(search.bundle, answers(right, "top1"), artifact="onnx-fp32", search=search)
    assert any("whether onnx-fp32 gave them" in note for note in asked.notes)


def test_that_grey_images_show_no_swapped_colours_is_said_beside_another_mistake_too(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        grey = {f"{i:02d}.png": conftest.encode(conftest.picture(i).convert("L"), "PNG") for i in range(16)}
        patch.setattr(conftest, "goldens", lambda: grey)
        patch.setattr(conftest, "CONTRACT", replace(conftest.CONTRACT, mean=(0.5,) * 3, std=(0.5,) * 3))
        conftest.build(tmp_path / "grey")
    bundle = read_bundle(tmp_path / "grey")
    runtime = open_runtime(bundle.artifact("onnx-fp32").path)
    for mistake, factor in (("reference", 1.0), ("no_scale", 255.0)):
        # (x - 0.5) / 0.5 of levels in place of shares
        inputs = [(x + 1) * factor - 1 for x in bundle.golden_pixels().astype(np.float64)]
        logits = np.concatenate([runtime(x[None].astype(np.float32)) for x in inputs])
        found = diagnose(bundle, answers(logits, "logits"))
        assert mistake in (found.outcome, *(match.mistake for match in found.matches)), found
        assert sum("red and blue are the same" in note for note in found.notes) == 1, found


def test_so_few_decimals_are_no_proof(search: Search) -> None:
    """Another model of the same classes, as sure of them, was called the reference from four decimals."""
    shares, images = softmax(logits_of(search.bundle, set())), np.arange(24)
    whole = diagnose(search.bundle, answers_of(images, shares, 0.0), search=search)
    assert (whole.outcome, whole.closest) == ("reference", False)
    rounded = diagnose(search.bundle, answers_of(images, shares.round(1), 0.1), search=search)
    assert (rounded.outcome, rounded.closest) == ("reference", True)
    assert any("so few decimals" in note for note in rounded.notes)


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


@pytest.mark.parametrize(
    ("name", "numbers", "step"),
    [
        ("zeros as logits", lambda logits: 0 * logits + 3.7, 0.0),
        ("zeros as probabilities", lambda logits: 0 * logits, 1e-5),
        ("uniform", lambda logits: 0 * logits + 1 / 3, 1e-6),
        ("one row of logits", lambda logits: 0 * logits + [2.5, -1.0, 0.5], 1e-6),
        ("nothing but rounding", lambda logits: (logits * 1e-4).round(2) + 1, 1e-2),
    ],
)
def test_answers_that_tell_no_images_apart_are_no_reference_and_no_mistake(
    search: Search, name: str, numbers: Callable[[np.ndarray], np.ndarray], step: float
) -> None:
    """Any logits times 0 explain them: they were called the reference, of correlation 0."""
    logits = logits_of(search.bundle, set()).astype(np.float64)
    found = diagnose(search.bundle, answers_of(np.arange(24), numbers(logits), step), search=search)
    assert found.outcome == "unknown", found
    assert not any("label_order" in match.mistake for match in found.matches)


def test_one_sure_answer_is_no_proof_of_a_mistake_that_ends_in_it(search: Search) -> None:
    for label in np.eye(3):
        answered = answers_of(np.arange(24), np.tile(label, (24, 1)), 1e-4)
        found = diagnose(search.bundle, answered, search=search)
        assert found.closest or found.outcome == "unknown", found
        assert not any("label_order" in match.mistake for match in found.matches)


def test_right_labels_written_as_0_and_1_accuse_nobody(search: Search) -> None:
    labels = np.eye(3)[logits_of(search.bundle, set()).argmax(1)]
    for step in (1.0, 1e-6):
        found = diagnose(search.bundle, answers_of(np.arange(24), labels, step), search=search)
        assert (found.outcome, found.closest, found.kind) == ("reference", True, "top1"), found


def test_logits_of_few_decimals_are_no_proof(search: Search) -> None:
    logits = logits_of(search.bundle, set()).astype(np.float64)
    size = np.ptp(logits) / 20
    found = diagnose(search.bundle, answers_of(np.arange(24), (logits / size).round(), 1.0), search=search)
    assert (found.outcome, found.closest) == ("reference", True), found
