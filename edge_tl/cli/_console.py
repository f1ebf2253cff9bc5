"""What a verb prints: lines and errors on stderr, its result or one JSON object on stdout. It computes nothing.

`-q` and `-v` are set here, once for a command. On a terminal sentences are wrapped at words; a file or a pipe gets each
as one line, so that programs find it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import PurePath
from time import perf_counter
from typing import Any, TextIO

from edge_tl.cli._details import spent
from edge_tl.cli._wrap import wrapped
from edge_tl.device.format import DASH
from edge_tl.device.text import printable

KEPT = "\n\u200d"  # lines are ours; the joiner of emoji changes nothing around it
QUIET, NORMAL, VERBOSE = -1, 0, 1
UNKNOWN_WIDTH = 80
_ALWAYS = ("warning:", "skipped ")  # what a result may not be read without

_volume = NORMAL
_names: tuple[str, ...] = ()
_begun = perf_counter()


def begin(arguments: Sequence[str]) -> None:
    """A new command: neither quiet nor verbose; the paths in it that have spaces are kept whole in lines."""
    global _names, _begun
    set_volume(NORMAL)
    _begun = perf_counter()
    words = {PurePath(word).name for word in arguments if " " in word} | {w for w in arguments if " " in w}
    _names = tuple(sorted((word for word in words if " " in word), key=len, reverse=True))


def set_volume(volume: int) -> None:
    """QUIET, NORMAL or VERBOSE, until the next command."""
    global _volume
    _volume = volume


def volume() -> int:
    """QUIET, NORMAL or VERBOSE."""
    return _volume


def complain(text: str) -> None:
    """One error, on stderr; names in it that would steer a terminal are spelled out."""
    _write(sys.stderr, f"error: {text}")


def say(text: str, *, always: bool = False) -> None:
    """One line for a person, on stderr. With -q only warnings, and what is to be said `always`."""
    if _volume > QUIET or always or text.startswith(_ALWAYS):
        _write(sys.stderr, text)


def detail(text: str) -> None:
    """One line for a person who asked for more, on stderr."""
    if _volume >= VERBOSE:
        _write(sys.stderr, text)


def tell_spent() -> None:
    """With -v, before the result or where there is no more to come: what it took."""
    if _volume >= VERBOSE:
        _write(sys.stderr, spent(_begun))


def finish(
    result: dict[str, Any], text: str, *, as_json: bool, code: int = 0, then: str | None = None
) -> int:
    """End a verb: the result as one JSON object on stdout, or the text for a person; after it, on stderr, `then`: what
    to type next. Returns the exit code."""
    tell_spent()
    if as_json:
        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        sys.stdout.write(json.dumps(result, ensure_ascii=plain, allow_nan=False) + "\n")
    else:
        _write(sys.stdout, text.rstrip())
    if then:
        sys.stdout.flush()  # else a terminal shows what comes next before the result
        say(then)
    return code


def milliseconds(value: float | None) -> str:
    """A latency, or a dash where the count does not support the percentile."""
    return DASH if value is None else f"{value:.2f}"


def fitted(text: str, width: int | None) -> str:
    """`text` as it is shown in `width` characters: names that would steer a terminal spelled out, sentences wrapped."""
    return wrapped(printable(text, keep=KEPT), width, [printable(name) for name in _names])


def width_of(stream: TextIO) -> int | None:
    """Characters in a line of the terminal that `stream` writes to; None for a file or a pipe, which has no end."""
    if not stream.isatty():
        return None
    if (said := os.environ.get("COLUMNS", "")).isdecimal() and int(said):
        return int(said)
    try:
        return os.get_terminal_size(stream.fileno()).columns or UNKNOWN_WIDTH
    except (OSError, ValueError):
        return UNKNOWN_WIDTH


def _write(stream: TextIO, text: str) -> None:
    stream.write(fitted(text, width_of(stream)) + "\n")
