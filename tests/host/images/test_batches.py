"""Which images come when: properties of the plan for any set, and batches that depend on nothing but their keys."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from edge_tl.device.errors import BadImage
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images import batches
from edge_tl.host.images.augment import image_transform
from edge_tl.host.images.batches import (
    AugmentedImages,
    BatchPlan,
    augmented_batches,
    epoch_order,
    steps_per_epoch,
)
from edge_tl.host.images.pixel_cache import ShrinkShorterSide, UncachedImages
from edge_tl.host.recipe.schema import Augment


def labels_of(n: int, classes: int = 3) -> Any:
    return np.arange(n, dtype=np.int64) % classes


PLANS = st.fixed_dictionaries(
    {
        "n": st.integers(1, 60),
        "batch_size": st.integers(1, 20),
        "seed": st.integers(0, 2**32),
        "first": st.integers(0, 5),
        "epochs": st.integers(1, 3),
    }
)


def plan(given: dict[str, int], balance: str = "none", **more: Any) -> BatchPlan:
    epochs = range(given["first"], given["first"] + given["epochs"])
    return BatchPlan(labels_of(given["n"]), given["seed"], epochs, given["batch_size"], balance, **more)


@settings(max_examples=60, deadline=None)
@given(PLANS)
def test_every_image_at_most_once_an_epoch_and_whole_batches(given: dict[str, int]):
    keys = list(plan(given))
    assert len(keys) == len(plan(given))
    assert len(keys) == given["epochs"] * steps_per_epoch(given["n"], given["batch_size"])
    assert {len(batch) for batch in keys} == {min(given["batch_size"], given["n"])}
    each = Counter(key for batch in keys for key in batch)
    assert set(each.values()) == {1}
    left_out = given["n"] % given["batch_size"] if given["n"] >= given["batch_size"] else 0
    for epoch in range(given["first"], given["first"] + given["epochs"]):
        images = [i for e, i in each if e == epoch]
        assert set(images) <= set(range(given["n"]))
        assert len(images) == given["n"] - left_out
    assert [epoch for batch in keys for epoch, _ in batch] == sorted(e for batch in keys for e, _ in batch)


@settings(max_examples=60, deadline=None)
@given(PLANS, st.integers(1, 5))
def test_processes_share_every_batch(given: dict[str, int], count: int):
    whole = list(plan(given))
    parts = [list(plan(given, part=(rank, count))) for rank in range(count)]
    for number, batch in enumerate(whole):
        shares = [part[number] for part in parts]
        assert sorted(key for share in shares for key in share) == sorted(batch)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


@settings(max_examples=60, deadline=None)
@given(PLANS, st.data(), st.sampled_from(["none", "sampler"]))
def test_skipping_goes_on_where_it_was(given: dict[str, int], data: st.DataObject, balance: str):
    whole = list(plan(given, balance))
    skip = data.draw(st.integers(0, len(whole)))
    rest = plan(given, balance, skip=skip)
    assert list(rest) == whole[skip:]
    assert len(rest) == len(whole) - skip


def test_epochs_and_seeds_differ_and_nothing_else_is_asked():
    labels = labels_of(50)
    torch.manual_seed(1)
    first = epoch_order(labels, 0, 0, "none")
    torch.manual_seed(2)
    assert epoch_order(labels, 0, 0, "none") == first
    assert epoch_order(labels, 0, 1, "none") != first
    assert epoch_order(labels, 1, 0, "none") != first
    assert sorted(first) == list(range(50))


def test_the_sampler_draws_every_class_as_often():
    labels = np.repeat([0, 1, 2], [900, 90, 10]).astype(np.int64)
    drawn = Counter(int(labels[i]) for epoch in range(6) for i in epoch_order(labels, 3, epoch, "sampler"))
    assert sum(drawn.values()) == 6000
    assert chisquare([drawn[c] for c in range(3)]).pvalue > 1e-3
    plainly = Counter(int(labels[i]) for i in epoch_order(labels, 3, 0, "none"))
    assert plainly == {0: 900, 1: 90, 2: 10}


@pytest.fixture(scope="module")
def dataset() -> AugmentedImages:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (20 + i, 40 - i, 3), np.uint8) for i in range(12)]
    transforms = [image_transform(Augment(preset="strong", hue=0.1), size, Preprocess()) for size in (16, 24)]
    return AugmentedImages(UncachedImages(pictures, lambda picture: picture), transforms, seed=7)


def keys() -> BatchPlan:
    return BatchPlan(labels_of(12), 7, range(2), 5, "none")


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on one core
def test_batches_are_the_same_however_many_workers_make_them(dataset: AugmentedImages):
    torch.manual_seed(99)
    here = list(augmented_batches(dataset, keys(), 0))
    torch.manual_seed(5)
    for workers in (1, 2):
        there = list(augmented_batches(dataset, keys(), workers))
        assert len(here) == len(there) == 4
        assert all(torch.equal(a, b) for a, b in zip(here, there, strict=True))
    assert [tuple(batch.shape) for batch in here] == [(5, 3, 16, 16)] * 2 + [(5, 3, 24, 24)] * 2
    assert {batch.dtype for batch in here} == {torch.uint8}


@pytest.mark.parametrize(("workers", "pipes"), [(0, False), (1, False), (1, True)])
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_an_image_that_went_bad_is_named_by_whoever_reads_it(
    workers: int, pipes: bool, dataset: AugmentedImages, tmp_path: Path
):
    """Where the disk is too full to keep images decoded, workers decode them; what they raise arrives as text."""
    (tmp_path / "bad.png").write_text("text")
    unkept = UncachedImages([tmp_path / "bad.png"] * 12, ShrinkShorterSide(16, "bilinear"))
    broken = AugmentedImages(unkept, dataset.transforms, seed=0)
    with pytest.raises(BadImage, match=r"not a usable image: .*bad\.png: not an image") as caught:
        list(augmented_batches(broken, keys(), workers, pipes=pipes))
    assert "Traceback" not in str(caught.value)


def decoded(dataset: AugmentedImages, key: tuple[int, int]) -> torch.Tensor:
    image = dataset[key]
    assert isinstance(image, torch.Tensor)
    return image


def test_an_image_looks_the_same_in_whatever_order_it_is_asked_for(dataset: AugmentedImages):
    wanted = [(epoch, i) for epoch in range(2) for i in range(12)]
    forward = {key: decoded(dataset, key) for key in wanted}
    backward = {key: decoded(dataset, key) for key in reversed(wanted)}
    assert all(torch.equal(forward[key], backward[key]) for key in wanted)
    # Sizes end; epochs after the last have its transform, and draws of their own.
    later = decoded(dataset, (2, 0))
    assert tuple(later.shape) == (3, 24, 24)
    assert not torch.equal(later, forward[(1, 0)])


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_making_batches_draws_nothing_from_the_global_generator(dataset: AugmentedImages):
    """A loader that did would make training depend on how often one was made."""
    torch.manual_seed(3)
    before = torch.get_rng_state()
    iterator = iter(batches.augmented_batches(dataset, keys(), 2))
    assert torch.equal(torch.get_rng_state(), before)
    next(iterator)
    assert torch.equal(torch.get_rng_state(), before)
