"""Images decoded once: the same bytes as decoding gives, from any process, and never half of them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edge_tl.device.errors import BadImage
from edge_tl.device.images.decode import decode
from edge_tl.device.listener import SILENT, Silent
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.images import pixel_cache
from edge_tl.host.images.pixel_cache import (
    ContractPixels,
    PixelCache,
    ShrinkShorterSide,
    UncachedImages,
    fill_cache,
    open_cache,
)

SIDE = 24
SHAPES = [(24, 24), (10, 8), (1, 1), (24, 100), (100, 24), (25, 24), (333, 57), (200, 300), (23, 400)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    paths = []
    for i, shape in enumerate(SHAPES):
        paths.append(folder / f"{i}.png")
        grey = i % 3 == 2
        Image.fromarray(rng.integers(0, 256, shape if grey else (*shape, 3), np.uint8)).save(paths[-1])
    return paths


@pytest.fixture
def store(sources: list[Path], tmp_path: Path) -> PixelCache:
    fill_cache(sources, ShrinkShorterSide(SIDE, "bicubic"), tmp_path / "kept", SILENT)
    opened = open_cache(sources, ShrinkShorterSide(SIDE, "bicubic"), tmp_path / "kept")
    assert isinstance(opened, PixelCache)
    return opened


def test_what_is_kept_is_what_is_decoded(store: PixelCache, sources: list[Path]):
    assert len(store) == len(sources)
    for i in [*range(len(sources)), 3, 0]:
        got, want = store[i], ShrinkShorterSide(SIDE, "bicubic")(sources[i])
        assert got.dtype == torch.uint8
        np.testing.assert_array_equal(got.permute(1, 2, 0).numpy(), want)
    assert store.bytes == sum(ShrinkShorterSide(SIDE, "bicubic")(source).nbytes for source in sources)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_images_are_shrunk_to_the_side_and_never_enlarged(sources: list[Path], interpolation: str):
    for source, shape in zip(sources, SHAPES, strict=True):
        got = ShrinkShorterSide(SIDE, interpolation)(source)
        if min(shape) <= SIDE:
            np.testing.assert_array_equal(got, np.asarray(decode(source)))
        else:
            assert min(got.shape[:2]) == SIDE
            assert got.shape[1] / got.shape[0] == pytest.approx(shape[1] / shape[0], rel=0.03)


def test_framed_is_the_contract(sources: list[Path]):
    contract = Preprocess(resize_size=(28, 28), crop=(SIDE, SIDE))
    images = UncachedImages(sources, ContractPixels(contract))
    inputs = images[6].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(contract.normalize(inputs), contract.apply(sources[6]))


def test_encoded_bytes_work_as_files_do(sources: list[Path], tmp_path: Path):
    class Part:
        def __init__(self, path: Path) -> None:
            self.content = path.read_bytes()

        def read_bytes(self) -> bytes:
            return self.content

    parts = [Part(path) for path in sources]
    fill_cache(parts, ShrinkShorterSide(SIDE, "bilinear"), tmp_path, SILENT)
    fill_cache(sources, ShrinkShorterSide(SIDE, "bilinear"), tmp_path / "files", SILENT)
    assert (tmp_path / "pixels.u8").read_bytes() == (tmp_path / "files" / "pixels.u8").read_bytes()


def test_what_is_too_large_is_not_kept_and_gives_the_same_images(
    sources: list[Path], store: PixelCache, tmp_path: Path
):
    folder = tmp_path / "none"
    fill_cache(sources, ShrinkShorterSide(SIDE, "bicubic"), folder, SILENT, limit_bytes=100)
    assert list(folder.iterdir()) == []
    images = open_cache(sources, ShrinkShorterSide(SIDE, "bicubic"), folder)
    assert isinstance(images, UncachedImages)
    assert len(images) == len(store)
    assert all(torch.equal(images[i], store[i]) for i in range(len(store)))
    images[0].fill_(0)  # as a transform in place would
    assert torch.equal(images[0], store[0])


def test_what_a_kill_cut_off_is_decoded_again(sources: list[Path], tmp_path: Path):
    calls: list[Path] = []

    class Killed(BaseException):
        pass

    def read(source: Path) -> Any:
        calls.append(source)
        return ShrinkShorterSide(SIDE, "bicubic")(source)

    class Stop(Silent):
        def progress(self, what: str, done: int, total: int) -> None:
            assert (what, total) == ("decoding", len(SHAPES))
            if done == 5:
                raise Killed

    with pytest.raises(Killed):
        fill_cache(sources, read, tmp_path, Stop())
    assert (tmp_path / "pixels.u8").exists()
    assert isinstance(open_cache(sources, read, tmp_path), UncachedImages)  # half a file is none
    fill_cache(sources, read, tmp_path, SILENT)
    whole = open_cache(sources, read, tmp_path)
    assert isinstance(whole, PixelCache)
    np.testing.assert_array_equal(
        whole[8].permute(1, 2, 0).numpy(), ShrinkShorterSide(SIDE, "bicubic")(sources[8])
    )
    before = len(calls)
    fill_cache(sources, read, tmp_path, SILENT)
    assert len(calls) == before  # what is there is not decoded again


def test_an_image_that_went_bad_is_named_and_nothing_counts_as_kept(sources: list[Path], tmp_path: Path):
    (tmp_path / "bad.png").write_text("text")
    with pytest.raises(BadImage, match=r"bad\.png"):
        fill_cache(
            [*sources, tmp_path / "bad.png"], ShrinkShorterSide(SIDE, "bicubic"), tmp_path / "kept", SILENT
        )
    assert not (tmp_path / "kept" / "index.npy").exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_does_not_move_its_parents_place(store: PixelCache):
    want = [store[i].clone() for i in range(len(store))]
    reading, writing = os.pipe()
    if not (child := os.fork()):
        good = all(torch.equal(store[i], want[i]) for _ in range(50) for i in range(len(store)))
        os.write(writing, b"1" if good else b"0")
        os._exit(0)
    assert all(torch.equal(store[i], want[i]) for _ in range(50) for i in range(len(store)))
    assert os.read(reading, 1) == b"1"
    os.waitpid(child, 0)


def test_workers_started_afresh_get_it_too(store: PixelCache, sources: list[Path]):
    again = pickle.loads(pickle.dumps(store))
    assert torch.equal(again[4], store[4])
    images = pickle.loads(pickle.dumps(UncachedImages(sources, ShrinkShorterSide(SIDE, "bicubic"))))
    assert torch.equal(images[4], store[4])


def test_pixels_on_a_device_are_the_same(store: PixelCache, monkeypatch: pytest.MonkeyPatch):
    want = [store[i].clone() for i in range(len(store))]
    assert not store.resident
    store.to(torch.device("cpu"))
    assert store.resident
    monkeypatch.setattr(pixel_cache.os, "pread", None)  # the file is not read any more
    assert all(torch.equal(store[i], want[i]) for i in range(len(store)))
