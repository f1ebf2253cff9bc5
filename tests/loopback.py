"""A device on loopback, as a test sees it: what runs on it, how its connections are cut, and patience."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

PATIENCE_S = 60.0


def until(condition: Callable[[], Any], what: str) -> Any:
    """The first true value; a machine may be slow, so it waits long before it fails."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {what}")


@dataclass
class Loopback:
    """One device: `name` is a Host of the ssh configuration `config`."""

    name: str
    home: Path
    port: int
    config: Path
    sshd: psutil.Popen

    @property
    def ssh(self) -> str:
        """The ssh command line that reaches it, and every other device of the test."""
        return f"ssh -F {shlex.quote(str(self.config))}"

    @property
    def store(self) -> Path:
        """Where edge-tl keeps its files by default."""
        return self.home / ".cache/edge-tl"

    def processes(self) -> list[psutil.Process]:
        """What runs on it: whatever has its home in the environment, orphans too."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("HOME") == str(self.home) and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def running(self, word: str) -> list[psutil.Process]:
        """Those with `word` in the command line."""
        found = []
        for process in self.processes():
            try:
                if word in " ".join(process.cmdline()):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def drop(self) -> None:
        """Cut every connection, as a power cut at the other end of the cable would."""
        for session in self.sshd.children(recursive=True):
            try:
                if "sshd" in session.name():
                    session.kill()
            except psutil.Error:
                continue

    def quiet(self) -> bool:
        """Whether nothing runs on it and nobody is connected to it."""
        return not self.processes() and not self.sshd.children(recursive=True)


def clients(config: Path) -> list[psutil.Process]:
    """The ssh processes on the host's side, masters too."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(config) in process.cmdline() and process.status() != "zombie":
                found.append(process)
        except psutil.Error:
            continue
    return found


Maker = Callable[..., Loopback]
Write = Callable[..., Path]
