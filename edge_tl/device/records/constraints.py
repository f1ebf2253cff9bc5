"""What a value in JSON must be beside its type, and the fault of one that is not. Knows no record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

_SHOWN = 60  # characters of a value in a message


@dataclass(frozen=True)
class Bounds:
    """The least and the greatest value of a number."""

    low: float = -math.inf
    high: float = math.inf

    def __str__(self) -> str:
        low = "" if math.isinf(self.low) else f" from {self.low:.17g}"
        return low + ("" if math.isinf(self.high) else f" to {self.high:.17g}")


@dataclass(frozen=True)
class Pattern:
    """What the whole of a text matches, and the same in words."""

    expression: str
    words: str


@dataclass(frozen=True)
class Count:
    """The least and the greatest number of items of a list."""

    low: int = 0
    high: int | None = None

    def __str__(self) -> str:
        return f"{self.low} to {self.high} items" if self.high is not None else f"at least {self.low} items"


NotEmpty = Annotated[str, Pattern(r"(?s).+", "text that is not empty")]
Fraction = Annotated[float, Bounds(0, 1)]


class Fault(Exception):
    """Where a value is not what it should be, on the way out of nested records."""

    def __init__(self, path: str, value: str, should: str = "") -> None:
        super().__init__(path, value, should)
        self.path, self.value, self.should = path, value, should

    def below(self, place: str) -> Fault:
        """The same fault, seen from the object that holds this one at `place`."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return Fault(f"{place}{joint}{self.path}", self.value, self.should)


def shown(value: object) -> str:
    """A value that may be anybody's, short enough for a message."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if type(value) is int and abs(value) >= 1 << 64:
        return "a whole number beyond 64 bits"  # which Python may refuse to write in decimals
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
