"""One writer a folder, against this process, others and dead ones."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput
from edge_tl.host.runs.folder_lock import LOCK, one_writer

HOLD = """
import sys
from pathlib import Path
from edge_tl.host.runs.folder_lock import one_writer
with one_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_stays_empty_goes_again_and_one_that_was_there_stays(tmp_path: Path) -> None:
    new, old = tmp_path / "a" / "new", tmp_path / "old"
    old.mkdir()
    for folder in (new, old):
        with one_writer(folder):
            assert folder.is_dir()
    assert not new.exists()
    assert list(old.iterdir()) == []
    with one_writer(new):
        (new / "result").touch()
    assert [path.name for path in new.iterdir()] == ["result"]


def test_the_second_is_told_who_writes_and_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BadInput, match=rf"run: another edge-tl \(process {other.pid}\) writes into it"):
            one_writer(folder).__enter__()
        assert (folder / LOCK).exists()
        other.kill()
    with one_writer(folder):  # what a killed writer left locks nobody out
        pass
    assert not (folder / LOCK).exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_worker_that_outlives_its_killed_parent_holds_nothing(tmp_path: Path) -> None:
    fork = "import os, sys, time\n" + HOLD.replace(
        'print("held", flush=True)',
        "child = os.fork()\n    if not child:\n        os._exit(time.sleep(60) or 0)\n    print(child, flush=True)",
    )
    command = [sys.executable, "-c", fork, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        try:
            with one_writer(tmp_path):
                os.kill(worker, 0)  # it is still there
        finally:
            os.kill(worker, signal.SIGKILL)


def test_the_same_process_is_refused_too_and_an_error_gives_the_folder_free(tmp_path: Path) -> None:
    with one_writer(tmp_path), pytest.raises(BadInput, match="give another --out"), one_writer(tmp_path):
        raise AssertionError("two writers")
    with pytest.raises(ZeroDivisionError), one_writer(tmp_path):
        raise ZeroDivisionError
    with one_writer(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_an_error_of_the_system(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"), one_writer(tmp_path / "file"):
        pass


@pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")
@pytest.mark.parametrize("what", ["link", "dangling link", "second name", "pipe", "folder"])
def test_a_lock_that_is_no_ordinary_file_of_its_own_is_refused_and_nothing_is_written(
    tmp_path: Path, what: str
) -> None:
    precious, folder = tmp_path / "precious", tmp_path / "run"
    folder.mkdir()
    lock = folder / LOCK
    if what != "dangling link":
        precious.write_text("all of it")
    if what.endswith("link"):
        lock.symlink_to(precious)
    elif what == "second name":
        lock.hardlink_to(precious)
    elif what == "pipe":
        os.mkfifo(lock)
    else:
        lock.mkdir()
    with pytest.raises(BadInput, match="is a link or no ordinary file"), one_writer(folder):
        pass
    assert os.path.lexists(lock)
    if what == "dangling link":
        assert not precious.exists()
    else:
        assert precious.read_text() == "all of it"


def test_a_full_disk_holds_the_lock_without_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(file: int, text: bytes) -> int:
        calls.append(file)
        assert len(calls) < 3, "it tries for ever"
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        writer = one_writer(tmp_path)
        writer.__enter__()
    with pytest.raises(BadInput, match="another edge-tl writes into it"), one_writer(tmp_path):
        pass
    writer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []
