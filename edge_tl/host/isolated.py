"""A process of its own for what may end its process: other people's kernels, converters and compilers.

One process serves many calls, because starting one costs seconds of imports. When it dies its memory is lost, and the
next call starts another. Both ends are this package on this machine, so that neither unpickles what others wrote.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, BinaryIO, TypeVar

from edge_tl.device import spawn
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.listener import SILENT, Listener, Silent

T = TypeVar("T")
_PIPE = 1 << 20  # bytes at a time; Linux gives 64 KiB, and images go through it
_EXIT_S = 5.0
SILENT_S = 7200.0
"""Seconds without an answer or progress after which a call is given up: more than any step of a large model takes."""
_DONE, _FAILED, _PROGRESS = "done", "failed", "progress"


class ProcessDied(EdgeTLError):
    """The process ended before it answered, or did not answer in time and was ended."""


class IsolatedProcess:
    """`call` runs a function of a module in a process of its own; `close` ends that, as does the end of a `with`.
    `environment` holds variables that differ from this process's."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = os.environ | dict(environment) if environment else None
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: BinaryIO | None = None

    def call(
        self,
        function: Callable[..., T],
        *arguments: Any,
        listener: Listener = SILENT,
        seconds: float = SILENT_S,
    ) -> T:
        """What `function(*arguments)` gives there; all of them are pickled, the function by its name.

        Raises `ProcessDied` when the process ends instead, or sends nothing, not even progress, for `seconds` and is
        killed; and whatever the function raises.
        """
        question = pickle.dumps((function, arguments, listener is not SILENT), pickle.HIGHEST_PROTOCOL)
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        kind = ""
        watchdog = _Watchdog(process, seconds)
        try:
            process.stdin.write(question)
            process.stdin.flush()
            while (message := pickle.load(process.stdout))[0] == _PROGRESS:
                watchdog.feed()
                listener.progress(*message[1])
            kind, answer = message
        except (EOFError, OSError, pickle.UnpicklingError):
            if watchdog.expired:
                raise ProcessDied(f"it gave no answer for {seconds:g} seconds and was ended") from None
            raise self._exit_error() from None
        finally:
            watchdog.stop()
            if not kind:  # interrupted: a late answer would be taken for that of the next call
                self.close()
        if kind == _FAILED:
            raise answer
        result: T = answer
        return result

    def start(self) -> None:
        """Have it run before a thread calls: Linux ends it with the thread that has started it."""
        self._running()

    def close(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._stderr):
                if stream:
                    with suppress(OSError):
                        stream.close()
        self._process = None

    def __enter__(self) -> IsolatedProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._process is None:
            self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that nobody empties would block the child
            self._process = subprocess.Popen(
                spawn.command("edge_tl.host.isolated"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env=self._environment,
            )
            _widen(self._process)
        return self._process

    def _exit_error(self) -> ProcessDied:
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_S)
        code = self._process.poll()
        if code is not None and code < 0:
            said = f"{(signal.strsignal(-code) or 'a signal').lower()}, signal {-code}"
            return ProcessDied(f"it ended its process ({said}{_of_memory(-code)})")
        assert self._stderr is not None
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        return ProcessDied(f"it ended its process ({lines[-1][:200] if lines else f'exit code {code}'})")


def _widen(process: subprocess.Popen[bytes]) -> None:
    """Larger pipes where the system has them to give: Linux limits what one user's pipes may hold."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        for stream in (process.stdin, process.stdout):
            if stream is not None:
                fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)


class _Watchdog:
    """Kills `process` once it has sent nothing for `seconds`."""

    def __init__(self, process: subprocess.Popen[bytes], seconds: float) -> None:
        self.expired = False
        self._process, self._seconds = process, seconds
        self._fed, self._stopped = threading.Event(), False
        threading.Thread(target=self._listen, daemon=True).start()

    def feed(self) -> None:
        """The process sent something: the time begins again."""
        self._fed.set()

    def stop(self) -> None:
        """The call has ended."""
        self._stopped = True
        self._fed.set()

    def _listen(self) -> None:
        while self._fed.wait(self._seconds):
            self._fed.clear()
            if self._stopped:
                return
        self.expired = True
        self._process.kill()


def _of_memory(number: int) -> str:
    return ": out of memory?" if number == getattr(signal, "SIGKILL", 9) else ""


def _portable(error: Exception) -> Exception:
    """The error itself where it is ours or Python's and can be pickled, else its words: unpickling a library's own
    would import the library here."""
    if type(error).__module__.partition(".")[0] not in ("builtins", "edge_tl"):
        return EdgeTLError(f"{type(error).__name__}: {error}")
    with suppress(Exception):
        again = pickle.loads(pickle.dumps(error))
        if type(again) is type(error) and str(again) == str(error):
            return error
    return EdgeTLError(str(error) if isinstance(error, EdgeTLError) else f"{type(error).__name__}: {error}")


class _Sender(Silent):
    """Sends the progress of a call to the process that made it."""

    def __init__(self, say: Callable[[str, Any], None]) -> None:
        self._say = say

    def progress(self, what: str, done: int, total: int) -> None:
        self._say(_PROGRESS, (what, done, total))


def main() -> None:
    """Answer calls from standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print goes to stderr

    def say(kind: str, what: Any) -> None:
        pickle.dump((kind, what), answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()

    while True:
        try:
            function, arguments, shown = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        more = {"listener": _Sender(say)} if shown else {}
        try:
            answer = _DONE, function(*arguments, **more)
        except Exception as error:
            answer = _FAILED, _portable(error)
        say(*answer)


if __name__ == "__main__":
    main()
