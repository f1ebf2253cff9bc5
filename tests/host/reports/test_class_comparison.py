"""Each class beside the same class: counts, intervals and changes, against scikit-learn's and scipy's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn")

from host.reports.samples import bundle, sample
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from edge_tl.device.metrics import compact, drop_of_counts
from edge_tl.device.records.accuracy import ChangedAnswer, Confusion
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.class_comparison import class_comparison, class_counts, compared_artifact


def answers(classes: int, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, PyTorch's answers, the artifact's: class 0 has no image, class 1 is never answered."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(1, classes, n)
    first = np.where(generator.random(n) < 0.7, labels, generator.integers(0, classes, n))
    second = np.where(generator.random(n) < 0.8, first, generator.integers(0, classes, n))
    first[first == 1], second[second == 1] = 2, 2
    return labels, first, second


def matrix(labels: np.ndarray, given: np.ndarray, classes: int) -> Confusion:
    return compact(confusion_matrix(labels, given, labels=list(range(classes))).tolist())


@pytest.mark.parametrize("classes", [6, 120])
def test_recall_precision_and_f1_are_scikit_learns(classes: int) -> None:
    labels, first, _ = answers(classes, 2000)
    counts = class_counts(matrix(labels, first, classes), classes)
    expected = precision_recall_fscore_support(labels, first, labels=list(range(classes)), zero_division=0)
    for found, precision, recall, f1, n in zip(counts, *expected, strict=True):
        assert found.n == n
        for got, wanted in ((found.precision, precision), (found.recall, recall), (found.f1, f1)):
            assert (got[0] if got else 0.0) == pytest.approx(wanted)
            assert got is None or got[1][0] <= got[0] <= got[1][1]
    assert counts[0].recall is None
    assert counts[1].precision is None


def test_the_interval_of_f1_is_that_of_jaccards_share() -> None:
    labels, first, _ = answers(5, 300)
    for found in class_counts(matrix(labels, first, 5), 5):
        either = found.n + found.answers - found.right
        share = binomtest(found.right, either).proportion_ci(method="wilson")
        assert found.f1 is not None
        assert found.f1[1] == pytest.approx([2 * end / (1 + end) for end in (share.low, share.high)])


def test_the_intervals_cover_what_they_should() -> None:
    """Of 2,000 draws of 60 images: recall's and F1's 95 % intervals hold the truth in 93 % or more."""
    generator = np.random.default_rng(1)
    chances = np.array([[0.8, 0.2], [0.3, 0.7]])  # of an answer by the label; labels are as often 0 as 1
    truth_recall, truth_f1 = 0.8, 2 * 0.4 / (0.5 + 0.55)
    held = np.zeros(2)
    for _ in range(2000):
        labels = generator.integers(0, 2, 60)
        given = np.where(generator.random(60) < chances[labels, 0], 0, 1)
        found = class_counts(matrix(labels, given, 2), 2)[0]
        assert found.recall
        assert found.f1
        held += [
            found.recall[1][0] <= truth_recall <= found.recall[1][1],
            found.f1[1][0] <= truth_f1 <= found.f1[1][1],
        ]
    assert (held / 2000 >= 0.93).all()


def record_of(labels: np.ndarray, first: np.ndarray, second: np.ndarray, classes: int) -> BundleRecord:
    base = bundle(sample("bundle"))
    names = tuple(f"<class {i}>" for i in range(classes))
    changed = tuple(
        ChangedAnswer(f"{i}.jpg", names[labels[i]], names[first[i]], names[second[i]])
        for i in np.flatnonzero(first != second)
    )
    own = replace(base.artifact("onnx-int8"), confusion=matrix(labels, second, classes), changed=changed)
    reference = replace(base.reference, confusion=matrix(labels, first, classes), n=len(labels))
    return replace(base, labels=names, reference=reference, artifacts=(own,), recommended="onnx-int8")


def test_the_change_is_paired_and_says_so_with_its_interval() -> None:
    labels, first, second = answers(4, 400)
    table = class_comparison(record_of(labels, first, second, 4))
    for i, row in enumerate(table.rows[1:], 1):
        of = labels == i
        lost, won = (
            int(np.sum((first == i) & (second != i) & of)),
            int(np.sum((first != i) & (second == i) & of)),
        )
        wanted = drop_of_counts(lost, won, int(of.sum()))
        value, low, high = row["change"].replace("[", "").replace("]", "").replace(",", "").split()
        assert float(value) == pytest.approx(-wanted.drop_pp, abs=0.005)
        assert (float(low), float(high)) == pytest.approx(
            (-wanted.drop_ci_pp[1], -wanted.drop_ci_pp[0]), abs=0.006
        )
    assert table.rows[0]["change"] == "—"  # no image of it
    assert "recall %, onnx-int8" in table.headings


def test_without_the_list_of_changes_there_is_no_interval() -> None:
    labels, first, second = answers(4, 400)
    record = record_of(labels, first, second, 4)
    bare = replace(record, artifacts=(replace(record.artifacts[0], changed=None),))
    assert not any("[" in row["change"] for row in class_comparison(bare).rows)


def test_pytorch_alone_has_its_own_columns_and_nothing_has_no_rows() -> None:
    labels, first, second = answers(4, 50)
    record = record_of(labels, first, second, 4)
    alone = replace(record, artifacts=(replace(record.artifacts[0], confusion=None),))
    assert compared_artifact(alone) is None
    assert class_comparison(alone).headings == ["class", "images", "recall %", "precision %", "F1 %"]
    nothing = replace(alone, reference=replace(alone.reference, confusion=None))
    assert not class_comparison(nothing).rows


def test_a_matrix_of_other_classes_is_passed_over() -> None:
    labels, first, second = answers(4, 50)
    record = record_of(labels, first, second, 4)
    assert not class_comparison(replace(record, labels=("a", "b"))).rows
