"""What a verb prints: lines and errors on stderr, its result or one JSON object on stdout. It computes nothing."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

from edge_tl.device.text import printable

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; the rest goes to stderr.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")]
Device = Annotated[str, typer.Option(help="What runs it; see `edge-tl devices`.")]
AllowFallback = Annotated[
    bool,
    typer.Option("--allow-fallback", help="Go on, with a warning, when another device than --device ran."),
]
Artifacts = Annotated[
    list[str] | None, typer.Option("--artifact", help="Only this artifact, e.g. onnx-int8; repeatable.")
]

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
    return "—" if value is None else f"{value:.2f}"
