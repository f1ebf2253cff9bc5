"""The private folder on the device: objects/SHA256, code/SHA256, envs/KEY, runs/ID, and tmp/ for what is unfinished.

Everything gets its name by a rename, once it is whole, so runs beside each other never see half of anything. It must
not start a process.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from edge_tl.host.fleet.agent.desk import FULL, Desk, Trouble, tell

KEEP_S = 30 * 86400.0  # what no run used for so long is removed


class Store:
    """The folder of this device, made private. Raises `Trouble` when others can write to it."""

    def __init__(self, folder: str) -> None:
        self.root = Path(os.path.expanduser(folder)).absolute()
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self.root.stat()
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            raise Trouble(
                "folder", f"{self.root} can be written by others: chmod 700 it, or name another folder"
            )
        for name in ("objects", "code", "envs", "runs", "tmp"):
            (self.root / name).mkdir(mode=0o700, exist_ok=True)
        os.environ["TMPDIR"] = str(self.root / "tmp")  # pip's too: a small device's /tmp is small

    def object(self, sha256: str) -> Path:
        """Where the file of this content is, or will be."""
        if not re.fullmatch("[0-9a-f]{64}", sha256):
            raise Trouble("answer", f"{sha256!r} is no SHA-256")
        return self.root / "objects" / sha256

    def holds(self, sha256: str) -> bool:
        """Whether the content is here, read anew; a damaged file is removed."""
        path = self.object(sha256)
        try:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
            if digest.hexdigest() == sha256:
                os.utime(path)
                return True
        except OSError:
            pass
        path.unlink(missing_ok=True)
        return False

    def take(self, sha256: str, stream: IO[bytes]) -> None:
        """Keep a content under its name once its hash is right; until then it has another name."""
        place, digest = self.object(sha256), hashlib.sha256()
        with self.scratch() as scratch:
            part = scratch / "part"
            with part.open("wb") as file:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise Trouble("changed", sha256)
            part.chmod(0o444)
            os.replace(part, place)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of its own in tmp/, gone afterwards."""
        path = Path(tempfile.mkdtemp(dir=self.root / "tmp"))
        try:
            yield path
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def lay(self, layout: dict[str, str], place: Path) -> Path:
        """Make a tree of objects: hard links, or copies where the file system has none."""
        for name, sha256 in layout.items():
            path = place / name if name else place
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise Trouble("answer", f"{name!r} lies outside its tree")
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(self.object(sha256), path)
            except OSError as error:
                if error.errno in FULL:
                    raise
                shutil.copyfile(self.object(sha256), path)
        return place

    def code(self, wheel: str) -> Path:
        """The folder that holds the wheel's packages, unpacked once."""
        home = self.root / "code" / wheel
        if not home.is_dir():
            with self.scratch() as scratch:
                with zipfile.ZipFile(self.object(wheel)) as archive:
                    archive.extractall(scratch / "code")
                with suppress(OSError):  # another run was first, with the same content
                    (scratch / "code").rename(home)
        os.utime(home)
        return home

    @contextmanager
    def locked(self, path: Path, desk: Desk) -> Iterator[None]:
        """Alone with `path`, as soon as other runs are done with it."""
        with path.open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if desk.gone.wait(0.2):
                        raise Trouble("gone", "the desk is gone") from None
                    tell("another run is making the environment")
            yield

    def clean(self) -> None:
        """Remove what dead runs left, and what none used for a month."""
        for name in ("objects", "code", "envs", "tmp"):
            for path in (self.root / name).iterdir():
                with suppress(OSError):
                    if time.time() - path.stat().st_mtime > (86400.0 if name == "tmp" else KEEP_S):
                        _remove(path)
        for path in (self.root / "runs").iterdir():
            with suppress(OSError), (path / ".lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held for as long as its run lives
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
