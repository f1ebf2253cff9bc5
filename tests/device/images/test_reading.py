"""What may pass is tried again and never taken for a fact about an image; what the path says is said at once."""

from __future__ import annotations

import errno
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.errors import BadImage, BadInput, ReadError
from edge_tl.device.images import decode as decoding
from edge_tl.device.images import loader, reading
from edge_tl.device.images.decode import decode
from edge_tl.device.preprocess import Preprocess

PASSING = [
    *(
        OSError(number, os.strerror(number))
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)
    ),
    OSError(errno.ESTALE, "Stale file handle"),
    MemoryError(),
]
SMALL = Preprocess(resize_size=(12, 12), crop=(8, 8))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PAUSES", (0.0, 0.0, 0.0))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return path


def failing(times: int, error: BaseException, then: Callable[..., Any]) -> Callable[..., Any]:
    left = [times]

    def call(*arguments: Any, **more: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return then(*arguments, **more)

    return call


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_passes_is_waited_for(error: Exception, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = np.asarray(decode(picture))
    monkeypatch.setattr(reading, "_file", failing(3, error, reading._file))
    assert np.array_equal(np.asarray(decode(picture)), want)
    monkeypatch.setattr(decoding, "_from_bytes", failing(3, error, decoding._from_bytes))
    (batch,) = loader.load_batches(SMALL, [picture])
    assert batch.indices == [0]


@pytest.mark.parametrize("where", [(reading, "_file"), (decoding, "_from_bytes")])
@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_does_not_pass_names_the_file_and_is_no_bad_image(
    error: Exception, where: tuple[Any, str], picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*where, failing(1000, error, lambda: None))
    with pytest.raises(ReadError, match=r"cannot read .*a\.png: ") as caught:
        decode(picture)
    assert caught.value.exit_code == 2
    assert not isinstance(caught.value, BadInput)
    with pytest.raises(ReadError):
        list(loader.load_batches(SMALL, [picture]))


@pytest.mark.parametrize("step", ["_shrunk", "resize"])
def test_memory_that_runs_out_after_decoding_is_no_traceback(
    step: str, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if step == "resize":
        monkeypatch.setattr(Image.Image, "resize", failing(1, MemoryError(), Image.Image.resize))
        assert SMALL.apply(picture).shape == (3, 8, 8)
        return
    monkeypatch.setattr(Preprocess, step, failing(1000, MemoryError(), lambda: None))
    with pytest.raises(ReadError, match=r"a\.png: Cannot allocate memory"):
        SMALL.apply(picture)


def test_a_forbidden_file_is_an_error_at_once(picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading.time, "sleep", lambda seconds: pytest.fail("nothing to wait for"))
    forbidden = failing(1000, PermissionError(errno.EACCES, "Permission denied"), lambda: None)
    monkeypatch.setattr(reading, "_file", forbidden)
    with pytest.raises(ReadError, match=r"Permission denied. Change its permissions"):
        decode(picture)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(BadImage, match="a pipe or a device"):
        decode(tmp_path / "pipe.png")


def test_a_file_larger_than_any_image_within_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(BadImage, match="too large: 1099511627776 bytes"):
        decode(tmp_path / "sparse.png")


def test_only_what_the_bytes_say_may_be_remembered(tmp_path: Path, picture: Path) -> None:
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:-40])
    sources = [tmp_path / "text.png", tmp_path / "gone.png", tmp_path, tmp_path / "cut.png", Path("a\0b")]
    (batch,) = loader.load_batches(SMALL, sources)
    assert sorted(batch.bad) == [0, 1, 2, 3, 4]
    assert batch.not_of_bytes == {1, 2, 4}
    (batch,) = loader.load_batches(Preprocess(max_pixels=10), [picture])
    assert batch.not_of_bytes == {0}


def test_errors_survive_the_way_from_a_worker() -> None:
    for error in (BadImage("a.png", "cut", of_bytes=False), ReadError("a.png", "full", "Wait.")):
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_many_threads_with_few_descriptors_lose_no_image(tmp_path: Path) -> None:
    """The issue itself: a process at its limit of open files."""
    resource = pytest.importorskip("resource")
    paths = [tmp_path / f"{i}.png" for i in range(40)]
    for i, path in enumerate(paths):
        Image.new("RGB", (9, 9), (i, 0, 0)).save(path)
    decode(paths[0])  # what Pillow imports it has imported
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    try:
        open_now = max(map(int, os.listdir("/dev/fd")))  # other tests of this process hold some, too
        resource.setrlimit(resource.RLIMIT_NOFILE, (open_now + 24, before[1]))
        while True:
            try:
                held.append(os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        with pytest.raises(ReadError, match=r"Too many open files. Allow more open files"):
            list(loader.load_batches(SMALL, paths))
        os.close(held.pop())
        assert sum(len(batch.indices) for batch in loader.load_batches(SMALL, paths)) == 40
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
