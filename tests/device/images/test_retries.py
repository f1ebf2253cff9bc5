"""A machine at its limits for a moment leaves no image and no shard out, and is not blamed on them."""

from __future__ import annotations

import errno
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_tl.device.errors import ReadError
from edge_tl.device.images import reading
from edge_tl.host.images import listing, shards
from edge_tl.host.images.listing import list_images

BUSY = OSError(errno.EMFILE, "Too many open files")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "_PAUSES", (0.0, 0.0))


def failing(times: int, then: Callable[..., Any]) -> Callable[..., Any]:
    left = [times]

    def call(*arguments: Any, **more: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise BUSY
        return then(*arguments, **more)

    return call


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for label in ("cat", "dog"):
        (tmp_path / "folder" / label).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (9, 9), (i, 0, len(label))).save(tmp_path / "folder" / label / f"{i}.png")
    return tmp_path / "folder"


@pytest.fixture
def shard(tmp_path: Path) -> Path:
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for i in range(6):
            buffer = io.BytesIO()
            Image.new("RGB", (9, 9), (i, 0, 0)).save(buffer, "PNG")
            for name, content in ((f"{i}.png", buffer.getvalue()), (f"{i}.cls", str(i % 2).encode())):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    return tmp_path / "a.tar"


def test_hashing_waits_and_then_names_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch):
    want = list_images(folder)
    real = listing.sha256_file
    monkeypatch.setattr(listing, "sha256_file", failing(2, real))
    assert list_images(folder) == want
    monkeypatch.setattr(listing, "sha256_file", failing(1000, real))
    with pytest.raises(ReadError, match=r"cannot read .*\.png: Too many open files"):
        list_images(folder)


def test_a_shard_that_cannot_be_opened_now_is_not_called_damaged(
    shard: Path, monkeypatch: pytest.MonkeyPatch
):
    want = list_images(shard)
    real = shards._headers
    monkeypatch.setattr(shards, "_headers", failing(2, real))
    assert list_images(shard) == want
    monkeypatch.setattr(shards, "_headers", failing(1000, real))
    with pytest.raises(ReadError, match=r"cannot read .*a\.tar: Too many open files"):
        list_images(shard)
