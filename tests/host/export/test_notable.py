"""Which answers a report shows, by hand-made logits."""

from __future__ import annotations

import numpy as np

from edge_tl.host.export.notable import MOST, notable_answers, with_maps
from edge_tl.host.images.dataset import Sample


def samples(*labels: int) -> list[Sample]:
    return [Sample(f"{i}.png", label, f"{i:064x}") for i, label in enumerate(labels)]


def logits(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, np.float32)


def test_the_surest_errors_come_first_and_right_answers_never() -> None:
    own = logits((5, 0), (0, 3), (0, 9), (0, 1))
    found = notable_answers(samples(0, 0, 0, 0), own, own)
    assert [each.sample.path for each in found.errors] == ["2.png", "1.png", "3.png"]
    assert found.flips == ()
    assert found.errors[0].device_probability == round(1 / (1 + np.exp(-9)), 6)


def test_of_changed_answers_those_that_were_right_come_first() -> None:
    before = logits((0, 2), (3, 0), (4, 0))
    after = logits((7, 0), (0, 1), (5, 0))
    found = notable_answers(samples(0, 0, 0), before, after)  # gained, lost, unchanged
    assert [each.sample.path for each in found.flips] == ["1.png", "0.png"]
    assert [(each.pytorch, each.device) for each in found.flips] == [(0, 1), (1, 0)]
    assert [each.sample.path for each in found.errors] == ["1.png"]
    assert {each.path for each in found.samples} == {"0.png", "1.png"}


def test_there_are_never_more_than_a_page_shows() -> None:
    wrong = logits(*[(0, 1 + i) for i in range(50)])
    found = notable_answers(samples(*[0] * 50), -wrong, wrong)
    assert len(found.errors) == len(found.flips) == MOST


def test_each_answer_gets_the_map_of_its_own_class() -> None:
    found = notable_answers(samples(0, 1), logits((3, 0), (1, 0)), logits((0, 3), (2, 0)))
    digest, other = (each.sample.digest for each in found.errors)
    own = {digest: np.stack([np.zeros((2, 3)), np.ones((2, 3))], -1).astype(np.float32)}
    whole = {digest: np.stack([np.full((2, 3), 7), np.zeros((2, 3))], -1).astype(np.float32)}
    flip, error = with_maps(found, own, "onnx-fp32", whole).errors
    assert flip.heatmap == ((1.0,) * 3,) * 2
    assert flip.pytorch_heatmap == ((7.0,) * 3,) * 2
    assert error.heatmap is error.pytorch_heatmap is None
    own[digest][0, 0] = np.nan  # as an accelerator may give
    assert with_maps(found, own, None, {}).errors[0].heatmap is None
    assert other not in own


def test_right_answers_are_typical_ones_of_different_classes() -> None:
    own = logits(*[(i, 0) for i in (1, 9, 5)], (0, 2), (3, 0))  # the last is wrong
    found = notable_answers(samples(0, 0, 0, 1, 1), own, own)
    assert [each.sample.path for each in found.right] == ["2.png", "3.png"]
    assert {each.sample.path for each in found.right}.isdisjoint(each.path for each in found.samples)
    many = np.eye(40, dtype=np.float32)
    classes = [each.device for each in notable_answers(samples(*range(40)), many, many).right]
    assert len(classes) == MOST
    assert classes[0] == 0
    assert classes[-1] == 39
