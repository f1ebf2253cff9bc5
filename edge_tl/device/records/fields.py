"""Values of somebody else's JSON, asked for by key and by type: what is not as it should be is named, never guessed.

It must not know which keys there are.
"""

from __future__ import annotations

import math
from typing import Any

from edge_tl.device.errors import BundleError

_SHOWN = 60  # characters of a value in a message


class Fields:
    """One JSON object; `where` says in messages which one it is: "bundle.json: artifacts[0]"."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise BundleError(_not(where, value, "an object"))
        self.record: dict[str, Any] = value
        self.where = where

    def fault(self, key: str, should: str) -> BundleError:
        """The error to raise for `key`, whose value is not what it `should` be."""
        return BundleError(_not(self._at(key), self.record.get(key), should))

    def value(self, key: str) -> Any:
        """Whatever is there. Raises `BundleError` where nothing is."""
        if key not in self.record:
            raise BundleError(
                f"{self.where.rstrip(': ')}: no {key!r}. The file is damaged; copy the bundle again."
            )
        return self.record[key]

    def text(self, key: str, *, empty: bool = False) -> str:
        """Text that any UTF-8 file can hold; with characters in it unless `empty`."""
        return _text(self.value(key), self._at(key), empty=empty)

    def texts(self, key: str, *, empty: bool = False) -> list[str]:
        """A list of texts."""
        return [_text(item, f"{self._at(key)}[{i}]", empty=empty) for i, item in enumerate(self.items(key))]

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """A finite number from `low` to `high`, as a float."""
        return _number(self.value(key), self._at(key), low, high)

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self.value(key)
        if type(value) is not int or not low <= value <= high:
            raise self.fault(key, f"a whole number from {low} to {high}")
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self.value(key)
        if not isinstance(value, bool):
            raise self.fault(key, "true or false")
        return value

    def items(self, key: str) -> list[Any]:
        """A list of anything."""
        value = self.value(key)
        if not isinstance(value, list):
            raise self.fault(key, "a list")
        return value

    def part(self, key: str) -> Fields:
        """The object under `key`."""
        return Fields(self.value(key), self._at(key))

    def parts(self, key: str) -> list[Fields]:
        """The objects in the list under `key`."""
        return [Fields(item, f"{self._at(key)}[{i}]") for i, item in enumerate(self.items(key))]

    def numbers(self, key: str, count: int) -> list[float]:
        """A list of `count` finite numbers."""
        values = self.items(key)
        if len(values) != count:
            raise self.fault(key, f"a list of {count} numbers")
        return [_number(v, f"{self._at(key)}[{i}]", -math.inf, math.inf) for i, v in enumerate(values)]

    def given(self, key: str) -> bool:
        """Whether there is a value that is not null."""
        return self.record.get(key) is not None

    def _at(self, key: str) -> str:
        return f"{self.where}{key}" if self.where.endswith(": ") else f"{self.where}.{key}"


def _text(value: object, where: str, *, empty: bool) -> str:
    if not isinstance(value, str) or not (value or empty):
        raise BundleError(_not(where, value, "text" if empty else "text that is not empty"))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BundleError(_not(where, value, "text without lone surrogates")) from None
    return value


def _number(value: object, where: str, low: float, high: float) -> float:
    # Compared as it is: float() of a whole number with 400 digits overflows.
    fits = type(value) in (int, float) and low <= value <= high  # type: ignore[operator]
    if not fits or abs(value) > 1e300:  # type: ignore[arg-type]
        between = "" if math.isinf(low) else f" from {low:g}" + ("" if math.isinf(high) else f" to {high:g}")
        raise BundleError(_not(where, value, f"a finite number{between}"))
    return float(value)  # type: ignore[arg-type]


def _not(where: str, value: object, should: str) -> str:
    return f"{where.rstrip(': ')}: {_short(value)}. It should be {should}; copy the bundle again, or export again."


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if type(value) is int and abs(value) >= 1 << 64:
        return "a whole number beyond 64 bits"  # which Python may refuse to write in decimals
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
