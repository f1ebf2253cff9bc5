"""Which of two is better at what, in words. Compares nothing."""

from __future__ import annotations

from collections.abc import Sequence

from edge_tl.device.format import DASH, interval, number, one_line
from edge_tl.host.reports.pair_record import DifferenceRecord, Side

_WORDS = {"accuracy": "more accurate", "latency": "faster", "size": "smaller"}
_NOUNS = {"accuracy": "accuracy", "latency": "speed", "size": "size"}


def pair_sentence(a: str, b: str, differences: Sequence[DifferenceRecord]) -> str:
    """What would be shipped of both: each one's advantages, what cannot be told apart, and what cannot be compared."""
    names = {"a": one_line(a), "b": one_line(b)} if a != b else {"a": "the first", "b": "the second"}
    sides: tuple[Side, Side] = ("a", "b")
    parts = []
    for side in sides:
        wins = [f"{_WORDS[d.figure]} ({_amount(d)})" for d in differences if d.better == side]
        if wins:
            parts.append(f"{names[side]} is {_and(wins)}")
    even = [d for d in differences if d.better is None and d.difference is not None]
    if even:
        told = [f"{_NOUNS[d.figure]} ({_amount(d)})" for d in even]
        parts.append(f"they cannot be told apart by {_and(told)}")
    parts += [
        f"their {_NOUNS[d.figure]} cannot be compared: {one_line(d.why)}"
        for d in differences
        if d.difference is None
    ]
    text = "; ".join(parts)
    # The name of a bundle stays as it is.
    ours = text.startswith(("they ", "their ")) or names["a"] == "the first"
    return f"{text[:1].upper() if ours else text[:1]}{text[1:]}."


def _amount(found: DifferenceRecord) -> str:
    """How much, with its interval: as the side that is better sees it."""
    value, ends = found.difference, found.difference_ci
    turned = found.better == "a"
    if value is None:
        return DASH
    if found.figure == "size":
        pair = (found.a, found.b) if turned else (found.b, found.a)
        return f"{number(pair[0])} MB, not {number(pair[1])}" if found.better else f"{number(found.a)} MB"
    if found.figure == "latency":
        if turned:
            value, ends = 1 / value, None if ends is None else (1 / ends[1], 1 / ends[0])
        return f"{interval(value, ends)} times as fast"
    if turned:
        value, ends = -value, None if ends is None else (-ends[1], -ends[0])
    return f"{interval(value, ends)} points on {number(found.n, 0)} images"


def _and(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
