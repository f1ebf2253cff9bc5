"""Files to batches: in order, complete, and a bad file is named."""

from __future__ import annotations

import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.images import loader
from edge_tl.device.images.loader import EncodedImage
from edge_tl.device.preprocess import Framed, Preprocess

SMALL = Preprocess(resize_size=(12, 12), crop=(8, 8))


def pictures(root: Path, count: int) -> list[Path]:
    rng = np.random.default_rng(1)
    paths = [root / f"{i:03d}.png" for i in range(count)]
    for i, path in enumerate(paths):
        size = (9 + i % 7, 10 + i % 5, 3)
        Image.fromarray(rng.integers(0, 256, size, dtype=np.uint8)).save(path)
    return paths


@pytest.mark.parametrize(("count", "size"), [(1, 16), (16, 16), (17, 16), (50, 4), (5, 1)])
def test_batches_keep_order_and_content(tmp_path: Path, count: int, size: int) -> None:
    paths = pictures(tmp_path, count)
    got = list(loader.load_batches(SMALL, paths, size=size))
    assert [len(batch.indices) for batch in got][:-1] == [size] * (len(got) - 1)
    assert [i for batch in got for i in batch.indices] == list(range(count))
    assert all(batch.bad == {} and batch.inputs.dtype == np.float32 for batch in got)
    inputs = np.concatenate([batch.inputs for batch in got])
    assert np.array_equal(inputs, np.stack([SMALL.apply(path) for path in paths]))


def test_no_paths_no_batches() -> None:
    assert list(loader.load_batches(SMALL, [])) == []


def test_bad_files_are_named_by_position_and_the_rest_is_read(tmp_path: Path) -> None:
    paths = pictures(tmp_path, 12)
    paths[0].write_bytes(b"not an image")
    paths[5] = tmp_path / "gone.png"
    for i in (8, 9, 10, 11):
        paths[i].write_bytes(b"")
    got = list(loader.load_batches(SMALL, paths, size=4))
    assert [batch.indices for batch in got] == [[1, 2, 3], [4, 6, 7], []]
    assert [sorted(batch.bad) for batch in got] == [[0], [5], [8, 9, 10, 11]]
    assert got[1].bad[5] == "no such file"
    assert "not an image" in got[0].bad[0]
    assert [batch.inputs.shape for batch in got] == [(3, 3, 8, 8), (3, 3, 8, 8), (0, 3, 8, 8)]
    assert np.array_equal(got[1].inputs[1], SMALL.apply(paths[6]))


def test_encoded_images_that_are_no_files_are_read_alike(tmp_path: Path) -> None:
    """As in a shard; what cannot be read is named by position, as a file would be."""

    class Held:
        def __init__(self, content: bytes | OSError) -> None:
            self.content = content

        def read_bytes(self) -> bytes:
            if isinstance(self.content, OSError):
                raise self.content
            return self.content

    paths = pictures(tmp_path, 4)
    lost = FileNotFoundError(2, "No such file or directory")
    sources: list[Path | EncodedImage] = [
        paths[0], Held(paths[1].read_bytes()), Held(b"not an image"), Held(lost), Held(OSError("cut off")),
        Held(paths[2].read_bytes()), paths[3],
    ]  # fmt: skip
    (batch,) = loader.load_batches(SMALL, sources)
    assert batch.indices == [0, 1, 5, 6]
    assert np.array_equal(batch.inputs, np.stack([SMALL.apply(path) for path in paths]))
    assert sorted(batch.bad) == [2, 3, 4]
    assert (batch.bad[3], batch.bad[4]) == ("No such file or directory", "cut off")


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the folder, only a few batches are ordered ahead of the caller."""
    ordered: list[object] = []

    class Watched(ThreadPoolExecutor):
        def submit(self, *work: object, **more: object) -> object:  # type: ignore[override]
            ordered.append(work)
            return super().submit(*work, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(loader, "cores_allowed", lambda: 2)
    monkeypatch.setattr(loader, "ThreadPoolExecutor", Watched)
    stream = loader.load_batches(SMALL, pictures(tmp_path, 40), size=1)
    for taken in range(1, 30):
        next(stream)
        assert 2 <= len(ordered) - taken <= 5
    assert sum(1 for _ in stream) == 11
    assert len(ordered) == 40


def test_a_caller_that_stops_early_leaves_no_threads(tmp_path: Path) -> None:
    stream = loader.load_batches(SMALL, pictures(tmp_path, 30), size=1)
    assert isinstance(stream, Generator)
    next(stream)
    stream.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


def test_an_unexpected_error_reaches_the_caller(tmp_path: Path) -> None:
    class Broken(Preprocess):
        def framed(self, source: object) -> Framed:
            raise RuntimeError("a bug, not a bad image")

    with pytest.raises(RuntimeError, match="a bug"):
        list(loader.load_batches(Broken(), pictures(tmp_path, 3)))
