"""The private folder on the device: objects/SHA256, code/SHA256, envs/KEY, runs/ID, and tmp/ for what is unfinished.

Everything gets its name by a rename, once it is complete, so concurrent runs never see a partial file. The folder is
marked as edge-tl's, and what is made in it is recorded in made/ first: nothing else is ever changed or removed. It
starts no process.
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

from edge_tl.host.remote.agent.channel import DISK_FULL, AgentError, Channel, log

UNUSED_S = 30 * 86400.0  # what no run used for so long is removed
UNFINISHED_S = 86400.0

MARK = "edge-tl-folder"
_MARK_TEXT = "edge-tl made this folder. It removes from it what it made and what no run used for 30 days.\n"
_SHA256 = "[0-9a-f]{64}"
KINDS = {
    "objects": _SHA256,
    "code": _SHA256,
    "envs": r"[0-9a-f]{16}(\.lock)?",
    "runs": r"\d+-\d+",
    "tmp": r"tmp\w{8}",
}
_BESIDE = {"made", "models"}  # the records, and what `edge-tl` itself remembers here


class Store:
    """The folder of this device, made private and marked. Raises `AgentError` for one that holds anything that edge-tl
    did not put there, and for one that others can write to."""

    def __init__(self, folder: str) -> None:
        self.root = Path(os.path.expanduser(folder)).absolute()
        home = Path(os.path.expanduser("~"))
        if self.root.resolve() in (home.resolve(), *home.resolve().parents):
            raise AgentError("foreign", f"{self.root} is, or holds, the home there")
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = self.root.stat()
        if state.st_uid != os.geteuid() or state.st_mode & 0o022:
            raise AgentError(
                "folder", f"{self.root} can be written by others: chmod 700 it, or name another folder"
            )
        known = [] if (self.root / MARK).is_file() else self._unmarked_contents()
        (self.root / MARK).write_text(_MARK_TEXT, encoding="utf-8")
        for name in (*KINDS, "made"):
            (self.root / name).mkdir(mode=0o700, exist_ok=True)
        for path in known:
            self._record_path(path).touch()

    def _unmarked_contents(self) -> list[Path]:
        """What a folder without the mark holds: nothing, or the five folders of versions before the mark, with names of
        their kind alone."""
        inside = {path.name for path in self.root.iterdir()}
        if strange := sorted(inside - _BESIDE - {MARK} - set(KINDS)):
            raise AgentError("foreign", f"{self.root / strange[0]} is not edge-tl's")
        found = []
        for kind, pattern in KINDS.items():
            if kind not in inside:
                if inside & set(KINDS):
                    raise AgentError("foreign", f"{self.root} has no mark of edge-tl's")
                continue
            for path in (self.root / kind).iterdir():
                if re.fullmatch(pattern, path.name):
                    found.append(path)
                elif kind != "tmp":  # where pip, too, left what it liked
                    raise AgentError("foreign", f"{path} is not edge-tl's")
        return found

    def _record_path(self, path: Path) -> Path:
        return self.root / "made" / f"{path.parent.name}.{path.name}"

    def owns(self, path: Path) -> bool:
        """Whether edge-tl made `path`, or is about to make it."""
        return self._record_path(path).is_file()

    def claim(self, path: Path) -> Path:
        """Record that `path` is edge-tl's, before it is made. Raises `AgentError` when something else is there."""
        if not self.owns(path):
            if os.path.lexists(path):
                raise AgentError("foreign", f"{path} is not edge-tl's")
            self._record_path(path).touch()
        return path

    def remove(self, path: Path) -> None:
        """Remove what was claimed, and its record; anything else stays."""
        if not self.owns(path):
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        if not os.path.lexists(path):
            self._record_path(path).unlink(missing_ok=True)

    def object(self, sha256: str) -> Path:
        """The path of the file with this content, whether or not it is there."""
        if not re.fullmatch(_SHA256, sha256):
            raise AgentError("answer", f"{sha256!r} is no SHA-256")
        return self.root / "objects" / sha256

    def has(self, sha256: str) -> bool:
        """Whether the content is here; its hash is computed anew, and a damaged file is removed."""
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
        if os.path.lexists(path):
            self.claim(path)
            path.unlink()
        return False

    def add(self, sha256: str, stream: IO[bytes]) -> None:
        """Store a content; the file gets its name once its hash is right. Raises `AgentError` for another hash."""
        place, digest = self.object(sha256), hashlib.sha256()
        with self.scratch() as scratch:
            part = scratch / "part"
            with part.open("wb") as file:
                while chunk := stream.read(1 << 20):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != sha256:
                raise AgentError("changed", sha256)
            part.chmod(0o444)
            os.replace(part, self.claim(place))

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder of its own in tmp/, gone afterwards."""
        path = Path(tempfile.mkdtemp(dir=self.root / "tmp"))
        self._record_path(path).touch()
        try:
            yield path
        finally:
            self.remove(path)

    def link_tree(self, files: dict[str, str], place: Path) -> Path:
        """Make a tree of stored files: hard links, or copies where the file system has none. Raises `AgentError` for a
        path that leaves it."""
        for name, sha256 in files.items():
            path = place / name if name else place
            if ".." in Path(name).parts or Path(name).is_absolute():
                raise AgentError("answer", f"{name!r} lies outside its tree")
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(self.object(sha256), path)
            except OSError as error:
                if error.errno in DISK_FULL:
                    raise
                shutil.copyfile(self.object(sha256), path)
        return place

    def unpack_wheel(self, wheel: str) -> Path:
        """The folder with the wheel's packages, unpacked once."""
        home = self.claim(self.root / "code" / self.object(wheel).name)
        if not home.is_dir():
            with self.scratch() as scratch:
                with zipfile.ZipFile(self.object(wheel)) as archive:
                    archive.extractall(scratch / "code")
                with suppress(OSError):  # another run was first, with the same content
                    (scratch / "code").rename(home)
        os.utime(home)
        return home

    @contextmanager
    def locked(self, path: Path, channel: Channel) -> Iterator[None]:
        """An exclusive lock on `path`, as soon as other runs have released it."""
        with self.claim(path).open("w") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if channel.closed.wait(0.2):
                        raise AgentError("disconnected", "the host is gone") from None
                    log("another run is making the environment")
            yield

    def clean(self) -> None:
        """Remove what dead runs left, and what none used for a month."""
        for record in (self.root / "made").iterdir():
            kind, _, name = record.name.partition(".")
            if kind not in KINDS or not re.fullmatch(KINDS[kind], name):
                continue
            path = self.root / kind / name
            with suppress(OSError):
                if not os.path.lexists(path):
                    if time.time() - record.stat().st_mtime > UNFINISHED_S:  # else it is about to be made
                        record.unlink()
                elif kind == "runs":
                    with (path / ".lock").open("w") as file:
                        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held for as long as its run lives
                        self.remove(path)
                elif time.time() - path.stat().st_mtime > (UNFINISHED_S if kind == "tmp" else UNUSED_S):
                    self.remove(path)
