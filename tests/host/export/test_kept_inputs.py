"""Inputs that are asked for twice are the same, come in the order that is asked for, and are decoded once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge_tl.device.errors import BadInput
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.export import image_sets, kept_inputs
from edge_tl.host.export.isolated_runtime import _place
from edge_tl.host.export.kept_inputs import KeptInputs
from edge_tl.host.images.dataset import Dataset, build_dataset
from edge_tl.host.images.listing import list_images
from edge_tl.host.isolated import IsolatedProcess
from edge_tl.host.recipe.schema import Data

CONTRACT = Preprocess(resize="shorter", resize_size=(24, 24), crop=(24, 24))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two classes of 20 images."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(40):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(path)
    return build_dataset(list_images(tmp_path / "images"), {}, Data(val=0.2, test=0.5), seed=0)


def test_what_was_decoded_once_is_read_again_in_another_order(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = dataset.split("test")
    kept = KeptInputs(tmp_path / "kept", CONTRACT, dataset, samples)
    first = np.concatenate(list(kept.batches(samples)))
    want = np.stack([CONTRACT.apply(path) for path in dataset.sources(samples)])
    np.testing.assert_array_equal(first, want)
    monkeypatch.setattr(image_sets, "batches", None)  # nothing is decoded from here on
    again = list(kept.batches([*samples[::-1], samples[3]]))
    assert max(map(len, again)) <= image_sets.at_once(CONTRACT)
    np.testing.assert_array_equal(np.concatenate(again), [*want[::-1], want[3]])
    assert list(kept.batches([])) == []


def test_a_process_decodes_them_and_reads_them_where_they_lie(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = dataset.split("test")
    kept = KeptInputs(tmp_path / "kept", CONTRACT, dataset, samples)
    with IsolatedProcess() as process:
        process.start()
        ran = process.call(os.getpid)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(kept.decode_in, process).result()
        assert process.call(os.getpid) == ran  # the thread is gone, the process is not
    monkeypatch.setattr(image_sets, "batches", None)  # nothing is decoded from here on
    want = np.stack([CONTRACT.apply(path) for path in dataset.sources(samples)])
    assert kept.stored(samples[::-1]) == (tmp_path / "kept", samples)
    assert kept.stored(samples[1:]) is kept.stored([]) is None
    np.testing.assert_array_equal(np.fromfile(tmp_path / "kept", np.float32).reshape(want.shape), want)
    for some, mapped in ((samples[3:9], True), (samples[3:9][::-1], False)):
        (batch,) = kept.batches(some)
        place = _place(batch)
        assert (place is not None) is mapped
        if place:
            np.testing.assert_array_equal(place.read(), batch)
            np.testing.assert_array_equal(batch, want[3:9])
            np.testing.assert_array_equal(_place(batch[2:]).read(), want[5:9])  # type: ignore[union-attr]
    assert _place(want) is None


def test_only_what_is_wanted_is_kept_and_only_until_it_is_forgotten(dataset: Dataset, tmp_path: Path) -> None:
    samples = dataset.split("test")
    kept = KeptInputs(tmp_path / "kept", CONTRACT, dataset, samples[:5])
    want = np.concatenate(list(kept.batches(samples)))
    assert (tmp_path / "kept").stat().st_size == 5 * 4 * 3 * 24 * 24
    np.testing.assert_array_equal(np.concatenate(list(kept.batches(samples))), want)
    np.testing.assert_array_equal(np.concatenate(list(kept.batches(samples[:5]))), want[:5])
    kept.forget()
    assert not (tmp_path / "kept").exists()
    np.testing.assert_array_equal(np.concatenate(list(kept.batches(samples[:5]))), want[:5])


def test_a_full_disk_costs_only_the_second_decoding(dataset: Dataset, tmp_path: Path) -> None:
    samples = dataset.split("test")
    (tmp_path / "kept").mkdir()  # what cannot be written to
    kept = KeptInputs(tmp_path / "kept", CONTRACT, dataset, samples)
    for _ in range(2):
        got = np.concatenate(list(kept.batches(samples)))
        np.testing.assert_array_equal(
            got, np.stack([CONTRACT.apply(path) for path in dataset.sources(samples)])
        )


def test_a_file_holds_a_bounded_share_of_each_class(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_inputs, "MOST_BYTES", 6 * 12 * 24 * 24)
    some = kept_inputs.fitting(CONTRACT, dataset.split("test"), 0)
    assert sorted(sample.label for sample in some) == [0, 0, 0, 1, 1, 1]


def test_an_image_that_is_not_what_the_run_saw_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    samples = dataset.split("test")
    dataset.sources(samples)[0].unlink()  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="is gone"):
        list(KeptInputs(tmp_path / "kept", CONTRACT, dataset, samples).batches(samples))
