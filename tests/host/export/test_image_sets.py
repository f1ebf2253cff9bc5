"""The images a bundle is proven with: who may see which."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening import Listening

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.listener import SILENT
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import NullRuntime
from edge_tl.host.export import image_sets
from edge_tl.host.export.artifacts import training_set
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.images.shards import Member


@pytest.fixture
def copied(dataset: Dataset, tmp_path: Path) -> Dataset:
    """The same dataset in a folder that a test may change."""
    shutil.copytree(dataset.root, tmp_path / "copy")
    return replace(dataset, root=tmp_path / "copy")


def test_calibration_comes_from_train_only_classes_in_turn(dataset: Dataset):
    chosen = image_sets.calibration_set(dataset, 30, 0)
    assert len({s.digest for s in chosen}) == 30
    assert {s.split for s in chosen} == {"train"}
    assert Counter(s.label for s in chosen) == {0: 10, 1: 10, 2: 10}
    assert image_sets.calibration_set(dataset, 30, 0) == chosen
    assert image_sets.calibration_set(dataset, 30, 1) != chosen
    assert image_sets.calibration_set(dataset, 12, 0) == chosen[:12]
    assert len(image_sets.calibration_set(dataset, 10**6, 0)) == len(dataset.split("train"))


def test_training_in_int8_leaves_out_what_selects_where_enough_is_left(dataset: Dataset):
    whole = dataset.split("train")
    assert training_set(dataset, whole[:10]) == whole[10:]
    assert training_set(dataset, dataset.split("val")) == whole
    assert training_set(dataset, whole[: len(whole) * 2 // 3]) == whole


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_planted_leak_is_found(dataset: Dataset, split: str):
    leaked = replace(dataset.split(split)[0], split="train", path="renamed.png")
    planted = replace(dataset, samples=[*dataset.samples, leaked])
    with pytest.raises(EdgeTLError, match=r"renamed\.png is also an evaluation image"):
        image_sets.calibration_set(planted, 10**6, 0)


def test_the_bundle_used_disjoint_sets_of_the_sizes_it_records(exported: dict[str, Any], dataset: Dataset):
    assert exported["provenance"]["sets"] == {
        "train": 84, "val": 18, "test": 18, "calibration": 30, "selection": 18, "evaluation": 18, "confidence": 18,
    }  # fmt: skip
    digests = {split: {s.digest for s in dataset.split(split)} for split in ("train", "val", "test")}
    assert not digests["train"] & digests["test"]
    assert not digests["train"] & digests["val"]


def test_selection_is_validation_where_a_test_split_judges_else_training_images_that_calibrate_nothing(
    dataset: Dataset,
):
    val = image_sets.selection_set(dataset, 30, 10**6, 0)
    assert {s.digest for s in val} == {s.digest for s in dataset.split("val")}
    assert image_sets.selection_set(dataset, 30, 5, 0) == val[:5]
    untested = replace(dataset, samples=[s for s in dataset.samples if s.split != "test"])
    chosen = image_sets.selection_set(untested, 30, 10**6, 0)
    calibrating = {s.digest for s in image_sets.calibration_set(untested, 30, 0)}
    assert len(chosen) == len(dataset.split("train")) - 30
    assert not calibrating & {s.digest for s in chosen}
    assert {s.split for s in chosen} == {"train"}


def test_some_images_hold_the_classes_as_all_do():
    """One of each class in turn would make of 900 and 100 images a beginning that is half and half, and the images
    themselves, sorted by path, one of a single class."""
    samples = [
        Sample(f"{label}/{i}", label, f"{label}-{i}") for label, n in ((0, 900), (1, 100)) for i in range(n)
    ]
    order = image_sets.in_proportion(samples, 0)
    assert sorted(order, key=lambda s: s.path) == sorted(samples, key=lambda s: s.path)
    for count in (10, 50, 400, 1000):
        assert sum(s.label for s in order[:count]) == pytest.approx(count / 10, abs=1)
    assert image_sets.in_proportion(samples[::-1], 0) == order
    assert image_sets.in_proportion(samples, 1) != order


def test_an_image_that_can_no_longer_be_decoded_is_an_error_and_not_a_row_of_zeros(
    dataset: Dataset, contract: Preprocess, tmp_path: Path
):
    chosen = dataset.split("test")
    with pytest.raises(BadInput, match=r"cannot be read here: .*too many pixels"):
        image_sets.inputs(replace(contract, max_pixels=1), dataset, chosen, tmp_path / "x.npy")
    with pytest.raises(BadInput, match="cannot be read here"):
        list(image_sets.batches(replace(contract, max_pixels=1), dataset, chosen))


def test_inputs_are_the_contracts_and_take_no_memory(dataset: Dataset, contract: Preprocess, tmp_path: Path):
    chosen = dataset.split("test")
    want = np.stack([contract.apply(path) for path in dataset.sources(chosen)])
    got = image_sets.inputs(contract, dataset, chosen, tmp_path / "x.npy")
    np.testing.assert_array_equal(got, want)
    assert isinstance(got, np.memmap)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_blends_are_mostly_their_own_image_and_partly_the_next(count: int, tmp_path: Path):
    images = np.random.default_rng(0).normal(size=(count, 3, 4, 4)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    image_sets.blend(tmp_path / "images.npy", seed=3)
    got = np.load(tmp_path / "images.npy")
    shares = []
    for i in range(count):
        own, other = images[i].ravel(), images[(i + 1) % count].ravel()
        if count == 1:
            np.testing.assert_allclose(got[i].ravel(), own, rtol=1e-5)
            return
        found, rest, *_ = np.linalg.lstsq(np.stack([own, other], 1), got[i].ravel(), rcond=None)
        assert rest < 1e-6
        assert found.sum() == pytest.approx(1, abs=1e-4)
        shares.append(found[0])
    assert min(shares) >= 0.5 - 1e-4
    assert len(set(np.round(shares, 4))) == count


def test_a_changed_or_lost_image_is_refused(copied: Dataset, contract: Preprocess, tmp_path: Path):
    first, second = copied.split("test")[:2]
    (copied.root / first.path).write_bytes((copied.root / second.path).read_bytes())
    with pytest.raises(BadInput, match="has changed") as caught:
        image_sets.inputs(contract, copied, [first], tmp_path / "x.npy")
    assert str(copied.root / first.path) in str(caught.value)
    (copied.root / second.path).unlink()
    with pytest.raises(BadInput, match="is gone"):
        list(image_sets.batches(contract, copied, [second]))


def test_evaluation_keeps_the_order_and_gives_every_runtime_the_same_inputs(
    dataset: Dataset, contract: Preprocess
):
    class Echo(NullRuntime):
        """Answers with numbers of its input."""

        def __call__(self, inputs: Any) -> Any:
            return inputs[:, 0, 30:32, 30]

    calls: list[tuple[str, int, int]] = []
    judged = dataset.split("train")[::-1]
    got = image_sets.evaluate(
        {"a": Echo(2), "b": Echo(2)},
        image_sets.batches(contract, dataset, judged),
        len(judged),
        Listening(progress=lambda *call: calls.append(call)),
    )
    want = np.stack([contract.apply(path)[0, 30:32, 30] for path in dataset.sources(judged)])
    np.testing.assert_array_equal(got["a"], want)
    np.testing.assert_array_equal(got["b"], want)
    assert calls[0] == ("evaluation", 0, 84)
    assert calls[-1] == ("evaluation", 84, 84)


def test_images_in_shards_prove_a_bundle_as_files_do(sharded: Dataset, tmp_path: Path):
    contract = Preprocess(resize="shorter", resize_size=(32, 32), crop=(32, 32))
    judged = sharded.split("test")
    want = np.stack([contract.apply(source.read_bytes()) for source in sharded.sources(judged)])
    np.testing.assert_array_equal(image_sets.inputs(contract, sharded, judged, tmp_path / "x.npy"), want)
    image_sets.check_images(sharded, judged)
    inputs = image_sets.batches(contract, sharded, judged)
    logits = image_sets.evaluate({"null": NullRuntime(2)}, inputs, len(judged), SILENT)
    assert logits["null"].shape == (len(judged), 2)


def test_a_changed_or_lost_shard_is_refused(sharded: Dataset, tmp_path: Path):
    contract = Preprocess(resize="shorter", resize_size=(32, 32), crop=(32, 32))
    sample = sharded.split("test")[0]
    (member,) = sharded.sources([sample])
    assert isinstance(member, Member)
    whole = member.shard.read_bytes()
    member.shard.write_bytes(whole[: member.offset] + b"junk" + whole[member.offset + 4 :])
    with pytest.raises(BadInput, match=r"has changed: .*data-\d\.tar!\d\d\."):
        image_sets.inputs(contract, sharded, [sample], tmp_path / "x.npy")
    member.shard.write_bytes(whole[: member.offset + 4])
    with pytest.raises(BadInput, match=r"cannot be read: .*the shard ends"):
        image_sets.inputs(contract, sharded, [sample], tmp_path / "x.npy")
    member.shard.unlink()
    with pytest.raises(BadInput, match=r"is gone: .*data-\d\.tar!"):
        image_sets.inputs(contract, sharded, [sample], tmp_path / "x.npy")
