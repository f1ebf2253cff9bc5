"""Two confusion matrices and their difference: the same counts as scikit-learn's, drawn or as pairs."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("sklearn")

from host.reports.samples import bundle, sample
from sklearn.metrics import confusion_matrix

from edge_tl.device.metrics import compact
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.confusion_maps import PAIRS, confusion_maps


def record_of(classes: int, n: int = 3000) -> tuple[BundleRecord, np.ndarray, np.ndarray]:
    """With two matrices, and these as scikit-learn gives them."""
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, n)
    first, second = (
        np.where(generator.random(n) < 0.8, labels, generator.integers(0, classes, n)) for _ in range(2)
    )
    known = list(range(classes))
    before, after = (confusion_matrix(labels, given, labels=known) for given in (first, second))
    base = bundle(sample("bundle"))
    own = replace(base.artifact("onnx-int8"), confusion=compact(after.tolist()))
    reference = replace(base.reference, confusion=compact(before.tolist()), n=n)
    names = tuple(f"class {i} & <b>" for i in known)
    return (
        replace(base, labels=names, reference=reference, artifacts=(own,), recommended="onnx-int8"),
        before,
        after,
    )


def cells(svg: str) -> list[str]:
    return re.findall(r'text-anchor="middle"><title>[^<]*</title>([^<]*)</text>', svg)


@pytest.mark.parametrize("classes", [2, 5, 20])
def test_the_drawn_counts_are_scikit_learns_and_their_difference(classes: int) -> None:
    record, before, after = record_of(classes)
    maps = confusion_maps(record)
    assert [each.owner for each in maps] == ["PyTorch on val", "onnx-int8 on val", "onnx-int8 minus PyTorch"]
    for each, wanted in zip(maps, (before, after, after - before), strict=True):
        assert each.svg is not None
        found = [int(text.replace("−", "-") or 0) for text in cells(each.svg)]
        assert found == wanted.reshape(-1).tolist()
    signs = {text[:1] for text in cells(maps[2].svg or "") if text}
    assert signs == {"+", "−"}  # by a sign, not by colour alone


def test_more_and_fewer_have_hues_of_their_own_and_deeper_ones_for_more() -> None:
    record, before, after = record_of(5)
    drawn = confusion_maps(record)[2].svg or ""
    shades = re.findall(r'<g class="(\w+?)(\d)', drawn)
    for (kind, depth), change, images in zip(
        shades, (after - before).reshape(-1), np.repeat(before.sum(axis=1), 5), strict=True
    ):
        share = abs(change) / images
        assert kind == ("more" if change > 0 else "fewer" if change < 0 else "h")
        assert int(depth) == (0 if not change else 1 if share <= 0.01 else 2 if share <= 0.03 else 3)


def test_many_classes_are_pairs_the_most_changed_first() -> None:
    record, before, after = record_of(150)
    maps = confusion_maps(record)
    assert all(each.svg is None for each in maps)
    assert [each.owner for each in maps] == ["PyTorch on val", "onnx-int8 minus PyTorch"]
    pairs = maps[1].pairs
    assert pairs is not None
    changes = [int(row["change"]) for row in pairs.rows]
    assert len(changes) == PAIRS
    assert sorted(map(abs, changes), reverse=True) == [abs(change) for change in changes]
    row = pairs.rows[0]
    i, j = (int(row[key].split()[1]) for key in ("label", "predicted"))
    assert (int(row["pytorch"]), int(row["artifact"])) == (before[i, j], after[i, j])


@pytest.mark.parametrize("classes", [20, 150])
def test_the_pairs_of_both_are_one_table(classes: int) -> None:
    record, before, after = record_of(classes)
    tables = [each.pairs for each in confusion_maps(record) if each.pairs and not each.signed]
    assert len(tables) == 1
    most = 0
    for row in reversed(tables[0].rows):
        i, j = (int(row[key].split()[1]) for key in ("label", "predicted"))
        assert i != j
        assert (int(row["count"]), int(row["other"])) == (before[i, j], after[i, j])
        assert most <= max(before[i, j], after[i, j])
        most = max(before[i, j], after[i, j])
    assert tables[0].headings[2:] == ["images, PyTorch", "% of that class, PyTorch", "images, onnx-int8"]


@pytest.mark.parametrize("classes", [5, 20, 150])
def test_of_two_that_are_the_same_a_sentence_says_so(classes: int) -> None:
    record, before, _ = record_of(classes)
    own = replace(record.artifacts[0], confusion=compact(before.tolist()))
    last = confusion_maps(replace(record, artifacts=(own,)))[-1]
    assert last.note.startswith("No difference")
    assert last.svg is None
    assert last.pairs is None


def test_ids_do_not_meet_and_each_drawing_says_what_it_is() -> None:
    maps = confusion_maps(record_of(5)[0])
    ids = re.findall(r'id="([^"]+)"', "".join(each.svg or "" for each in maps))
    assert len(ids) == len(set(ids)) == 6
    assert all('role="img"' in (each.svg or "") and "&lt;b&gt;" in (each.svg or "") for each in maps)


def test_what_is_not_known_is_absent() -> None:
    record = record_of(5)[0]
    alone = replace(record, artifacts=(replace(record.artifacts[0], confusion=None),))
    assert [each.owner for each in confusion_maps(alone)] == ["PyTorch on val"]
    assert confusion_maps(replace(alone, reference=replace(alone.reference, confusion=None))) == []
    assert confusion_maps(replace(record, labels=("a", "b"))) == []
