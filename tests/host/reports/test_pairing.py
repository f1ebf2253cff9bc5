"""Two bundles or two runs side by side: by the same images where both list their answers, and refused where not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")
pytest.importorskip("scipy")

from host.reports.samples import bundle, run, sample

from edge_tl.device.errors import BadInput
from edge_tl.device.records.answers import AnswersRecord
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.pair_record import DifferenceRecord, PairRecord
from edge_tl.host.reports.pairing import compare_bundles, compare_runs, independent_difference

N = 200


def answered(
    wrong: int, *, name: str, offset: int = 0, labels: tuple[str, ...] = (), **files: int
) -> BundleRecord:
    """The sample's bundle whose artifacts answer the first `wrong` images wrongly, of images from `offset` on."""
    whole = bundle(sample("bundle"))
    known = labels or whole.labels
    k = len(known)
    truth = [known.index(whole.labels[i % k]) for i in range(N)]
    said = [(label + 1) % k if i < wrong else label for i, label in enumerate(truth)]
    images = tuple(f"{offset + i:016x}" for i in range(N))
    ids = [artifact.id for artifact in whole.artifacts]
    answers = AnswersRecord(images, tuple(truth), tuple(truth), {each: tuple(said) for each in ids})
    return replace(whole, name=name, labels=known, answers=answers)


def first(pair: PairRecord, figure: str) -> DifferenceRecord:
    return next(each for each in pair.differences if each.figure == figure)


def test_the_same_images_are_compared_one_by_one() -> None:
    """15 images are right in B alone: Bonett and Price's interval by hand."""
    found = first(compare_bundles(answered(20, name="A"), answered(5, name="B")), "accuracy")
    assert found.paired
    assert found.n == N
    assert found.difference == pytest.approx(7.5)
    lost, won = 1 / (N + 2), 16 / (N + 2)
    half = 1.959964 * np.sqrt((lost + won - (lost - won) ** 2) / (N + 2))
    assert found.difference_ci == pytest.approx((100 * (won - lost - half), 100 * (won - lost + half)))
    assert found.better == "b"


def test_the_other_way_round_says_the_same() -> None:
    one, other = answered(20, name="A"), answered(5, name="B")
    there, back = compare_bundles(one, other), compare_bundles(other, one)
    a, b = first(there, "accuracy"), first(back, "accuracy")
    assert a.difference == pytest.approx(-(b.difference or 0))
    assert (a.better, b.better) == ("b", "a")
    assert "B is more accurate (7.50 [" in there.sentence
    assert "B is more accurate (7.50 [" in back.sentence


def test_classes_in_another_order_are_the_same_classes() -> None:
    labels = bundle(sample("bundle")).labels
    found = compare_bundles(answered(4, name="A"), answered(4, name="B", labels=labels[::-1]))
    assert first(found, "accuracy").difference == 0
    assert first(found, "accuracy").better is None
    assert "cannot be told apart by accuracy (0.00 [" in found.sentence


def test_only_images_of_both_count() -> None:
    found = first(compare_bundles(answered(0, name="A"), answered(0, name="B", offset=150)), "accuracy")
    assert found.n == 50
    assert "50 images" in (found.why or "")
    apart = first(compare_bundles(answered(0, name="A"), answered(9, name="B", offset=N)), "accuracy")
    assert (apart.difference, apart.better, apart.why) == (None, None, "evaluated on other images")


def test_without_answers_the_interval_is_newcombes() -> None:
    """56 of 70 and 48 of 80: Newcombe (1998), table II, method 10: 0.0524 to 0.3339."""
    record = sample("bundle")
    records = []
    for right, n in ((48, 80), (56, 70)):
        whole = bundle(record)
        artifacts = tuple(replace(each, accuracy=right / n) for each in whole.artifacts)
        reference = replace(whole.reference, n=n, confusion=None)
        records.append(replace(whole, artifacts=artifacts, reference=reference))
    difference, ends = independent_difference(48, 80, 56, 70)
    assert difference == pytest.approx(20)
    assert ends == pytest.approx((5.24, 33.39), abs=0.01)
    found = first(compare_bundles(*records), "accuracy")  # another count of images: not the same ones
    assert found.why == "evaluated on other images"
    same = [replace(each, reference=records[0].reference) for each in records]
    found = first(compare_bundles(*same), "accuracy")
    assert not found.paired
    assert found.difference == pytest.approx(20)


def test_other_classes_are_refused() -> None:
    whole = bundle(sample("bundle"))
    other = replace(whole, labels=(*whole.labels[:-1], "unicorn"))
    with pytest.raises(BadInput, match="'tulips' is in one alone"):
        compare_bundles(whole, other)


def test_a_busy_or_another_machine_says_nothing_of_speed() -> None:
    whole = bundle(sample("bundle"))
    pair = compare_bundles(whole, replace(whole, name="other"))
    found = first(pair, "latency")
    assert found.difference is None
    assert found.why == "not timed, or the record has no single calls"  # the sample has no bench
    assert "their speed cannot be compared: not timed" in pair.sentence


def test_size_is_told_by_whose_files_are_smaller() -> None:
    whole = bundle(sample("bundle"))
    smaller = tuple(
        replace(each, files=tuple(replace(file, bytes=file.bytes // 2) for file in each.files))
        for each in whole.artifacts
    )
    pair = compare_bundles(whole, replace(whole, name="small", artifacts=smaller))
    assert first(pair, "size").better == "b"
    assert first(pair, "size").difference == pytest.approx(2, rel=0.01)
    assert "small is smaller (" in pair.sentence


def test_runs_on_the_same_images_and_on_others() -> None:
    record: dict[str, Any] = sample("run")
    record["data"]["samples"] = [["val", 0, "a" * 64, "x.jpg"], ["train", 0, "b" * 64, "y.jpg"]]
    one, other = run(record), run(record | {"name": "other"})
    found = first(compare_runs(one, other), "accuracy")
    assert found.difference == 0
    assert found.better is None
    record["data"] = record["data"] | {"samples": [["val", 0, "c" * 64, "x.jpg"]]}
    assert first(compare_runs(one, run(record)), "accuracy").why == "evaluated on other images"
