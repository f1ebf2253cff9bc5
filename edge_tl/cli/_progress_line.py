"""One line on a terminal that says how far long work is, how fast, and how long it will take. Nothing elsewhere."""

from __future__ import annotations

import shutil
import sys
from time import perf_counter
from types import TracebackType

from edge_tl.device.format import clock, number

_EACH_S = 0.2  # between two looks
_RECENT_S = (
    5.0  # the rate is that of about so many seconds: of a folder's first images says little about its last
)


class ProgressLine:
    """A context manager that clears its line at its end. `total` is None where nobody knows it. `shown`: whether stderr
    is a terminal, and nothing else goes to it."""

    def __init__(self, what: str, total: int | None, *, shown: bool | None = None) -> None:
        self._what, self._total = what, total
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._begin = self._last = perf_counter()
        self._mark = (self._begin, 0)  # from when on the rate counts
        self._rate: float | None = None

    def update(self, done: int, failed: int = 0) -> None:
        """So many are done, `failed` of them without a result."""
        now = perf_counter()
        if not self._shown or now - self._last < _EACH_S:
            return
        self._last = now
        since, count = self._mark
        recent = (done - count) / (now - since)
        self._rate = recent
        if now - since > _RECENT_S:
            self._mark = (now - _RECENT_S / 2, done - round(recent * _RECENT_S / 2))
        self._draw(self._text(done, failed))

    def _text(self, done: int, failed: int) -> str:
        of = "" if self._total is None else f" of {number(self._total, 0)}"
        parts = [f"{number(done, 0)}{of} {self._what}"]
        if self._rate:
            parts.append(f"{number(self._rate, 0 if self._rate >= 10 else 1)}/s")
            if self._total is not None:
                parts.append(f"{clock((self._total - done) / self._rate)} left")
        return ", ".join([*parts, *([f"{number(failed, 0)} not usable"] if failed else [])])

    def clear(self) -> None:
        """Make room for a line of text."""
        if self._shown:
            self._draw("")

    def _draw(self, text: str) -> None:
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r\x1b[K{text[:width]}")
        sys.stderr.flush()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()
