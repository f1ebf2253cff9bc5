"""A kill at any moment leaves the old file or the new one."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
import threading
from pathlib import Path

import pytest

from edge_tl.device import files
from edge_tl.device.errors import BadInput, ReadError
from edge_tl.device.images import reading


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "record.json"
    path.write_bytes(b"old")
    return path


def test_sha256_is_the_standards(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert files.sha256_file(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_sha256_across_chunks(tmp_path: Path, size: int) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    (tmp_path / "big").write_bytes(content[:size])
    assert files.sha256_file(tmp_path / "big") == hashlib.sha256(content[:size]).hexdigest()


def test_write_replaces_and_leaves_nothing_beside(old: Path) -> None:
    files.write_atomic(old, b"new")
    assert old.read_bytes() == b"new"
    assert list(old.parent.iterdir()) == [old]


def test_write_makes_the_folder(tmp_path: Path) -> None:
    files.write_atomic(tmp_path / "a/b/c.bin", b"\0\xff")
    assert (tmp_path / "a/b/c.bin").read_bytes() == b"\0\xff"


@pytest.mark.parametrize("step", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_in_the_middle_keeps_the_old_file(
    old: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        files.write_atomic(old, b"new")
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_the_old_file_is_there_until_the_rename(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, bytes]] = []
    rename = os.replace

    def watch(source: str, target: Path) -> None:
        assert Path(source).parent == target.parent, "a rename across file systems is not atomic"
        assert Path(source).name.startswith("."), "what a kill leaves behind must not look like a result"
        seen.append((Path(source).read_bytes(), old.read_bytes()))
        rename(source, target)

    monkeypatch.setattr(os, "replace", watch)
    files.write_atomic(old, b"new")
    assert seen == [(b"new", b"old")]


def test_what_does_not_read_back_is_refused(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"worn-out flash")
    with pytest.raises(OSError, match="read back"):
        files.write_atomic(old, b"new")
    monkeypatch.undo()
    assert old.read_bytes() == b"old"


@pytest.mark.skipif(os.name != "posix", reason="limits as POSIX has them")
def test_a_write_that_fails_names_its_file(old: Path) -> None:
    resource, signals = pytest.importorskip("resource"), pytest.importorskip("signal")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signals.signal(signals.SIGXFSZ, signals.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as raised:
            files.write_atomic(old, bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signals.signal(signals.SIGXFSZ, ignored)
    assert raised.value.errno == errno.EFBIG
    assert raised.value.filename == str(old)
    assert old.read_bytes() == b"old"


@pytest.mark.skipif(os.name != "posix", reason="named pipes are POSIX's")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "record.json")
    writer = os.open(tmp_path / "record.json", os.O_RDWR)  # while it is open a read does not end
    os.write(writer, b"{}")
    closing = threading.Timer(2, os.close, [writer])
    closing.start()
    with pytest.raises(BadInput, match=r"record\.json: it is a pipe or a device, not a file"):
        files.read_json(tmp_path / "record.json")
    closing.join()


@pytest.mark.skipif(os.name != "posix", reason="mode bits are POSIX's")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_mode_bits_follow_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        files.write_atomic(tmp_path / "shared", b"x")
        (tmp_path / "plain").write_bytes(b"x")
        assert os.umask(umask) == umask, "the umask was left changed"
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("shared", "plain")]
    assert modes[0] == modes[1] == 0o666 & ~umask


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, [{"x": math.nan}], {1, 2}, object()])
def test_what_json_has_not_is_refused(old: Path, bad: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        files.write_json(old, {"value": bad})
    assert old.read_bytes() == b"old"
    assert list(old.parent.iterdir()) == [old]


def test_json_round_trip_is_utf8(tmp_path: Path) -> None:
    record = {"name": "blåbær 🫐", "n": 1, "x": 0.1, "none": None, "list": [True, {"deep": []}]}
    files.write_json(tmp_path / "r.json", record)
    assert files.read_json(tmp_path / "r.json") == record
    raw = (tmp_path / "r.json").read_bytes()
    assert "blåbær 🫐".encode() in raw
    assert raw.endswith(b"}\n")
    assert json.loads(raw) == record


@pytest.mark.parametrize(
    "content", [b"", b"[1, 2]", b"null", b'{"cut": ', b"\xff\xfe\xfa", b'{"a": 1} trailing']
)
def test_read_refuses_what_is_no_object(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="cannot read") as caught:
        files.read_json(path)
    assert str(path) in str(caught.value)


def test_read_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"none\.json"):
        files.read_json(tmp_path / "none.json")
    with pytest.raises(BadInput, match="cannot read"):
        files.read_json(tmp_path)


def test_a_record_that_cannot_be_read_now_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_json(tmp_path / "r.json", {"a": 1})
    real, left = Path.read_bytes, [1]

    def busy(path: Path) -> bytes:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return real(path)

    monkeypatch.setattr(reading, "_PAUSES", (0.0,))
    monkeypatch.setattr(Path, "read_bytes", busy)
    assert files.read_json(tmp_path / "r.json") == {"a": 1}
    left[0] = 1000
    with pytest.raises(ReadError, match="Too many open files"):
        files.read_json(tmp_path / "r.json")
