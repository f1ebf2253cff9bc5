"""Answers that chance, or what looks at no image, gives are no mistake of a name."""

from __future__ import annotations

import numpy as np
import pytest
from device.diagnosis.pipelines import answers, logits_of, random_logits

from edge_tl.device.diagnosis.answers import Answers, answers_of
from edge_tl.device.diagnosis.diagnose import diagnose
from edge_tl.device.diagnosis.hypothesis import Explained
from edge_tl.device.diagnosis.ranking import ranking_of
from edge_tl.device.diagnosis.search import Search


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["probabilities", "decimals", "top1"])
def test_random_models_are_nothing_known(search: Search, kind: str) -> None:
    for number in range(100 if kind == "top1" else 40):
        found = diagnose(search.bundle, answers(random_logits(search.bundle, number), kind), search=search)
        assert found.outcome == "unknown", (number, found)


@pytest.mark.parametrize("number", [15, 18, 35])
def test_rounded_answers_that_are_nearly_labels_are_as_little_proof_as_labels(
    search: Search, number: int
) -> None:
    """Most of a random network's probabilities are 1 to three decimals: they had been a mistake in the labels' order,
    for certain, of which five images of 24 were something else."""
    found = diagnose(search.bundle, answers(random_logits(search.bundle, number), "decimals"), search=search)
    assert found.outcome == "unknown", found


def test_two_labels_that_a_mistake_cannot_decide_between_are_not_explained_by_it(search: Search) -> None:
    """A pipeline whose logits are the same for every image, two of them level, had explained any two labels."""
    images = np.arange(24)
    level = np.tile(np.array([1.0, 1.0, -5.0], np.float32), (24, 1))
    given = Answers("top1", images, None, np.random.default_rng(0).integers(0, 2, 24))
    flat = search.stored(given)[0]
    plain = np.zeros(24, bool)
    guess = next(
        Explained(given, search.bundle.labels).hypotheses(("no_scale",), "onnx-fp32", level, whole=False)
    )
    ranking = ranking_of(given, [flat, guess], plain)
    assert not len(ranking.unexplained(guess.likeness))
    assert not ranking.names(guess)


def test_files_that_decoders_differ_on_are_no_evidence(search: Search) -> None:
    """Labels that are all the same but on such files say nothing."""
    right = logits_of(search.bundle, set())
    top1 = np.zeros(24, np.int64)
    odd = np.arange(24) < 8
    top1[odd] = right.argmax(axis=1)[odd]
    given = Answers("top1", np.arange(24), None, top1)
    found = search.stored(given)
    assert ranking_of(given, found, odd).says_nothing
    assert not ranking_of(given, found, np.zeros(24, bool)).says_nothing
    assert ranking_of(given, found, np.ones(24, bool)).plain.tolist() == list(range(24))


def test_the_same_label_for_every_image_says_nothing(search: Search) -> None:
    values = np.tile([[0.0, 0.004, 0.996]], (24, 1))
    found = diagnose(search.bundle, answers_of(np.arange(24), values, 0.01), search=search)
    assert found.outcome == "unknown", found
    assert any("has the answer eel" in note for note in found.notes)
