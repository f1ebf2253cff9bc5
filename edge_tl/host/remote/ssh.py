"""One connection to one device through the user's own `ssh`: a master, and a session for each request.

Every process here is a child that ends when this one does, however it ends: the master runs `cat` on a pipe that only
this process holds open. It never asks for a password, and it does not reconnect.
"""

from __future__ import annotations

import queue
import shlex
import subprocess
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TypeVar

from edge_tl.device.errors import BadInput
from edge_tl.device.text import printable
from edge_tl.host.remote import errors
from edge_tl.host.remote.agent.channel import MARK
from edge_tl.host.remote.agent.messages import Answer, ErrorAnswer, Request, decode_answer, encode

Wanted = TypeVar("Wanted", bound=Answer)

CONNECT_S = 45.0  # name, TCP, keys and login together; a small board takes seconds for the keys
KEEPALIVE_S = 15.0
_QUIET = "BatchMode=yes ClearAllForwardings=yes ForwardAgent=no ForwardX11=no PermitLocalCommand=no"
_PLAIN = "RemoteCommand=none RequestTTY=no ControlPersist=no EscapeChar=none"
_ALIVE = "ConnectTimeout=10 ServerAliveInterval=15 ServerAliveCountMax=3"
# Python's first words: an old one says so; else it runs the program that follows, by its length. The working folder,
# which is the home there, is off the path: a `json.py` in it is not ours.
_BOOT = (
    "import sys;v=sys.version_info;v[:2]>=(3,10) or sys.exit('edge-tl: Python %d.%d'%v[:2]);"
    "sys.path=[p for p in sys.path if p];"
    "b=sys.stdin.buffer;exec(b.read(int(b.readline())))"
)
_PROGRAM = """
import sys, types
for name, text in {sources!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
module.main()
"""


class Connection:
    """Open it, `ask`, close it; `close` may come from another thread and ends what is being asked."""

    def __init__(self, ssh: Sequence[str], host: str, socket: Path) -> None:
        self.host = host
        self._ssh = list(ssh)
        self._socket = str(socket).replace("%", "%%")
        self._master: subprocess.Popen[bytes] | None = None
        self._session: subprocess.Popen[bytes] | None = None
        self._connected = self._closed = False
        self._lock = threading.Lock()
        self._said: list[str] = []

    def open(self) -> None:
        """Connect. Raises `RemoteError` that says why not, `BadInput` when there is no ssh here."""
        command = [
            *self._command("ControlMaster=yes", "LogLevel=INFO", *_ALIVE.split()),
            "echo edge-tl && cat >/dev/null",
        ]
        master = self._start(command, master=True)
        answers: queue.Queue[bytes] = queue.Queue()
        _read(master.stdout, answers.put)
        reader = _read(master.stderr, lambda line: self._said.append(_text(line)))
        line = b""
        while line.strip() != b"edge-tl":  # a login script may greet first
            try:
                line = answers.get(timeout=CONNECT_S)
            except queue.Empty:
                raise errors.no_response(self.host, CONNECT_S) from None
            if not line:
                reader.join(timeout=5)
                raise errors.unreachable(self.host, self._said)
        self._connected = True

    def ask(
        self,
        python: str,
        request: Request,
        answer: type[Wanted],
        *,
        on_line: Callable[[str], None] = lambda line: None,
        feed: Callable[[IO[bytes]], None] | None = None,
    ) -> tuple[Wanted, list[str]]:
        """Have `python` there answer a request; the answer, and the lines printed on the way, each given to `on_line`.

        `feed` writes what follows the request. Raises `RemoteError`, also where the agent reports an error.
        """
        said: list[str] = []

        def take(line: bytes) -> None:
            if text := _text(line):
                said.append(text)
                on_line(text)

        command = [
            *self._command("ControlMaster=no", "LogLevel=ERROR", "ProxyCommand=false"),
            f'{_word(python)} -c "{_BOOT}"',
        ]
        session = self._start(command)
        received: list[bytes] = []
        readers = [_read(session.stdout, received.append), _read(session.stderr, take)]
        assert session.stdin is not None
        with suppress(OSError):  # it may have ended already; the answer says why
            for content in (_PROGRAM.format(sources=_sources()).encode(), encode(request)):
                session.stdin.write(b"%d\n%b" % (len(content), content))
            session.stdin.flush()
            if feed:
                feed(session.stdin)
        while (code := self._ended(session)) is None:
            with suppress(OSError):
                session.stdin.write(b"\n")
                session.stdin.flush()
        for reader in readers:
            reader.join(timeout=10)
        with suppress(OSError):
            session.stdin.close()
        found = self._answer(b"".join(received), code, said)
        if not isinstance(found, answer):
            raise errors.agent_failed("answer", f"it sent {type(found).__name__}")
        return found, said

    def close(self) -> None:
        """End the session and the connection; what ran on the device ends with them."""
        with self._lock:
            self._closed = True
        if self._session and self._session.poll() is None:
            self._session.terminate()
        if self._master:
            assert self._master.stdin is not None
            with suppress(OSError):
                self._master.stdin.close()
            if not self._connected:
                self._master.terminate()
            for end in (self._master.terminate, self._master.kill):
                try:
                    self._master.wait(timeout=8)  # the master outlives every session that is still open
                    break
                except subprocess.TimeoutExpired:
                    end()
            self._master.wait()

    def _command(self, *options: str) -> list[str]:
        pairs = [*options, *_QUIET.split(), *_PLAIN.split()]
        return [*self._ssh, "-S", self._socket, *(f"-o{pair}" for pair in pairs), "--", self.host]

    def _start(self, command: Sequence[str], *, master: bool = False) -> subprocess.Popen[bytes]:
        pipe = subprocess.PIPE
        with self._lock:  # so that nothing starts that `close` does not see
            if self._closed:
                raise errors.ConnectionLost(["closed here"])
            try:
                # In a session of its own: Ctrl-C is for this process, which ends things in order.
                process = subprocess.Popen(
                    command, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True
                )
            except OSError as error:
                raise BadInput(
                    f"cannot run {command[0]}: {error.strerror}. Install OpenSSH's client."
                ) from None
            if master:
                self._master = process
            else:
                self._session = process
            return process

    def _ended(self, session: subprocess.Popen[bytes]) -> int | None:
        try:
            return session.wait(timeout=KEEPALIVE_S)
        except subprocess.TimeoutExpired:
            return None

    def _answer(self, received: bytes, code: int, said: list[str]) -> Answer:
        _, mark, rest = received.partition(MARK)
        length, _, text = rest.partition(b"\n")
        if mark and len(text) >= int(length):
            try:
                answer = decode_answer(text[: int(length)])
            except ValueError as error:
                raise errors.agent_failed("answer", str(error)) from None
            if isinstance(answer, ErrorAnswer):
                raise errors.agent_failed(answer.kind, answer.text)
            return answer
        if code == 255:
            with suppress(subprocess.TimeoutExpired):
                if self._master and not self._closed:
                    self._master.wait(timeout=2)
            raise errors.ConnectionLost(self._said or said)
        raise errors.NoAnswer(code, said)


def _sources() -> list[tuple[str, str]]:
    folder = Path(__file__).parent / "agent"
    names = ("channel", "messages", "store", "environment", "main")  # each after what it imports
    return [(f"{__package__}.agent.{name}", (folder / f"{name}.py").read_text("utf-8")) for name in names]


def _word(path: str) -> str:
    """A path as a word of whatever shell is there; ~/ stays the home there."""
    home, tail = ("~/", path[2:]) if path.startswith("~/") else ("", path)
    return home + shlex.quote(tail)


def _read(stream: IO[bytes] | None, take: Callable[[bytes], None]) -> threading.Thread:
    """Call `take` with every line in a thread of its own, and at the end with an empty one."""

    def read() -> None:
        assert stream is not None
        with stream:
            for line in stream:
                take(line)
        take(b"")

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _text(line: bytes) -> str:
    return printable(line.decode(errors="replace").strip())
