"""What a verb prints: lines and errors on stderr, its result or one JSON object on stdout. It computes nothing."""

from __future__ import annotations

import json
import sys
from typing import Any

from edge_tl.device.format import DASH
from edge_tl.device.text import printable

KEPT = "\n\u200d"  # lines are ours; the joiner of emoji changes nothing around it


def complain(text: str) -> None:
    """One error, on stderr; names in it that would steer a terminal are spelled out."""
    sys.stderr.write(f"error: {printable(text, keep=KEPT)}\n")


def say(text: str) -> None:
    """One line for a person, on stderr."""
    sys.stderr.write(printable(text, keep=KEPT) + "\n")


def finish(
    result: dict[str, Any], text: str, *, as_json: bool, code: int = 0, then: str | None = None
) -> int:
    """End a verb: the result as one JSON object on stdout, or the text for a person; after it, on stderr, `then`: what
    to type next. Returns the exit code."""
    if as_json:
        plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
        sys.stdout.write(json.dumps(result, ensure_ascii=plain, allow_nan=False) + "\n")
    else:
        sys.stdout.write(printable(text.rstrip(), keep=KEPT) + "\n")
    if then:
        sys.stdout.flush()  # else a terminal shows what comes next before the result
        say(then)
    return code


def milliseconds(value: float | None) -> str:
    """A latency, or a dash where the count does not support the percentile."""
    return DASH if value is None else f"{value:.2f}"
