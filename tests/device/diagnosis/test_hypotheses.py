"""Other models of the same classes, orders of labels, and what is tried first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
from device import conftest
from device.diagnosis.pipelines import KINDS, answers, logits_of

from edge_tl.device.diagnosis import mistaken_logits
from edge_tl.device.diagnosis.diagnose import diagnose
from edge_tl.device.diagnosis.hypothesis import Hypothesis
from edge_tl.device.diagnosis.inputs import mistaken_inputs
from edge_tl.device.diagnosis.mistakes import paired_mistakes
from edge_tl.device.diagnosis.search import Search
from edge_tl.device.runtimes.base import Runtime
from edge_tl.device.runtimes.open import open_runtime


def taught(search: Search, seed: int) -> np.ndarray:
    """The answers of another model of the same classes, as good as a line through few numbers of an image can be."""
    runtime = open_runtime(search.bundle.artifact("onnx-fp32").path)
    contract = search.bundle.preprocess
    images = [contract.apply(conftest.picture(1000 * (seed + 1) + i)) for i in range(300)]
    logits = np.concatenate([runtime(one[None]) for one in images])

    def features(inputs: Sequence[np.ndarray]) -> np.ndarray:
        small = np.stack([one.reshape(3, 4, 4, 4, 4).mean((2, 4)).ravel() for one in inputs])
        kept = small @ np.random.default_rng(seed).normal(0, 1, (small.shape[1], 12))
        return np.concatenate([kept, np.ones((len(kept), 1))], axis=1)

    weights = np.linalg.lstsq(features(images), logits, rcond=None)[0]
    answered: np.ndarray = features(list(search.bundle.golden_pixels())) @ weights
    return answered


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_another_model_of_the_same_classes_is_neither_the_reference_nor_a_mistake(
    search: Search, seed: int, kind: str
) -> None:
    logits = taught(search, seed)
    right = logits_of(search.bundle, set())
    assert (logits.argmax(axis=1) == right.argmax(axis=1)).mean() > 0.6  # it has learnt something
    found = diagnose(search.bundle, answers(logits, kind), search=search)
    assert found.outcome == "unknown", found


def test_labels_are_the_reference_with_doubt_and_one_sure_label_less_is_none(search: Search) -> None:
    """One of 24 that the reference is sure of: it had been called the reference, with or without."""
    right = logits_of(search.bundle, set())
    same = diagnose(search.bundle, answers(right, "top1"), search=search)
    assert (same.outcome, same.closest, same.matches) == ("reference", True, ())
    assert any("12% of other answers" in note for note in same.notes), same.notes  # 1 - 0.05 ** (1 / 24)
    apart = np.sort(right, axis=1)[:, -1] - np.sort(right, axis=1)[:, -2]
    for image, outcome in ((int(apart.argmax()), "unknown"), (int(apart.argmin()), "reference")):
        other = right.copy()
        second = np.argsort(right[image])[-2]
        other[image, second] = right[image].max() + 1
        found = diagnose(search.bundle, answers(other, "top1"), search=search)
        assert (found.outcome, len(found.differs)) == (outcome, int(outcome == "unknown")), found


def test_one_label_for_every_image_is_no_mistake_of_a_name(search: Search) -> None:
    logits = logits_of(search.bundle, {"double_scale"})
    assert len(set(logits.argmax(axis=1))) == 1
    found = diagnose(search.bundle, answers(logits, "top1"), search=search)
    assert (found.outcome, found.closest) == ("unknown", True)
    assert "double_scale" in [match.mistake for match in found.matches]
    nearly = logits.copy()
    nearly[5] = nearly[5][::-1]  # one of 24: any of 300 mistakes may put it there
    assert diagnose(search.bundle, answers(nearly, "top1"), search=search).outcome == "unknown"


def test_a_right_pipeline_is_known_without_running_a_model(search: Search) -> None:
    """Three decimals had run 300 mistakes on every image, which took a minute of MobileNetV2."""
    fresh = Search(search.bundle)
    for kind in ("logits", "probabilities", "decimals"):
        assert (
            diagnose(search.bundle, answers(logits_of(search.bundle, set()), kind), search=fresh).outcome
            == "reference"
        )
    assert not fresh._answering


def test_of_a_right_pipeline_with_another_decoder_no_pairs_are_tried(search: Search) -> None:
    asked: list[str] = []

    def pairs(*_: object) -> list[Hypothesis]:
        asked.append("pairs")
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "_pairs", pairs)
        for artifact in ("onnx-fp32", "openvino-int8"):
            logits = logits_of(search.bundle, {"level"}, artifact)
            assert diagnose(search.bundle, answers(logits, "logits"), search=search).outcome == "reference"
    assert asked == []


def test_single_mistakes_of_every_artifact_are_tried_before_two_of_any(search: Search) -> None:
    """Of INT8 alone bgr took the 66 pairs of FP32 first."""
    fresh = Search(search.bundle)
    asked: list[str] = []

    def pairs(*_: object) -> list[Hypothesis]:
        asked.append("pairs")
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Search, "_pairs", pairs)
        logits = logits_of(search.bundle, {"bgr"}, "openvino-int8")
        found = diagnose(search.bundle, answers(logits, "logits"), search=fresh)
    assert (found.matches[0].mistake, found.artifact, asked) == ("bgr", "openvino-int8", [])


@pytest.mark.parametrize(
    ("labels", "called"),
    [
        (("10", "11", "9"), "sorted by number"),
        (("Zebra", "auk", "äsche"), "sorted by locale"),
        (("b", "c", "a"), "sorted as text"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_an_order_that_programs_sort_labels_in_is_named(
    search: Search, labels: tuple[str, ...], called: str, kind: str
) -> None:
    """`called` is in the advice; the order itself is the one that the standard library sorts them in."""
    listed = sorted(labels)
    if called == "sorted by number":
        listed = sorted(labels, key=int)
    elif called == "sorted by locale":
        listed = sorted(labels, key=lambda text: text.casefold().replace("ä", "a"))
    assert listed != list(labels)
    logits = logits_of(search.bundle, set())
    # The k-th logit under the k-th name of the sorted list, then in the bundle's order of names.
    moved = logits[:, [listed.index(label) for label in labels]]
    bundle = replace(search.bundle, record=replace(search.bundle.record, labels=labels))
    found = diagnose(bundle, answers(moved, kind))
    assert [match.mistake for match in found.matches] == ["label_order"], found
    assert called in found.matches[0].change


def test_inputs_of_large_models_are_run_some_at_a_time(
    search: Search, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def runtime(inputs: np.ndarray) -> np.ndarray:
        asked.append(len(inputs))
        return inputs.reshape(len(inputs), -1)[:, :3]

    monkeypatch.setattr(mistaken_logits, "_USUAL", 8 * 8)  # the tiny model's 16 x 16 are four times as many
    pairs = paired_mistakes(search.bundle.preprocess)
    answering = mistaken_logits.Answering(search.bundle, cast(Runtime, runtime))
    found = answering.logits(pairs, [0])
    assert max(asked) == mistaken_logits._AT_ONCE // 4
    expected = mistaken_inputs(search.bundle.golden_images()[0], search.bundle.preprocess, pairs)
    for pair, one in zip(pairs, expected, strict=True):
        np.testing.assert_array_equal(found[pair][0], one.ravel()[:3])
