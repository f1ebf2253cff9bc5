"""Frozen dataclasses that are JSON objects: `to_json` writes them, `from_json` reads what may be anybody's.

Knows no record. A record is a class of typed fields:

    @dataclass(frozen=True)
    class FileRecord(Record):
        path: str
        sha256: Annotated[str, Pattern("[0-9a-f]{64}", "64 hexadecimal digits")]
        bytes: Annotated[int, Bounds(0, 1 << 36)]
        note: str | None = None

- A field without a default is always in the JSON. One with a default is left out while it has that value, and may be
  missing; `written(default)` makes one that is always written and may be missing in older files.
- `json_key("class", default)` names a key that Python cannot.
- Types: `bool`, `int`, `float` (a whole number becomes one), `str`, `Literal`, `X | None`, `tuple[X, ...]`,
  `tuple[X, Y]`, `dict[str, X]`, another `Record`, a class with `to_json` and `from_json` of its own, and `Json` for
  what is only passed on. `Annotated` adds `Bounds`, `Pattern` or `Count`.
- `check` is called with what was read, for what types cannot say.

A key that is missing, of another type or value, or not the record's own is refused by name.
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from functools import cache
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from edge_tl.device.errors import BadInput, BundleError

Json = Any
"""A JSON value that is passed on as it is."""

R = TypeVar("R", bound="Record")
_SHOWN = 60  # characters of a value in a message
_MOST = 1e300
_NOTHING = type(None)


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


def written(default: Any) -> Any:
    """A field that is always in the JSON, and may be missing in older files, where it is `default`."""
    return field(default=default, metadata={"written": True})


def json_key(name: str, default: Any = MISSING) -> Any:
    """A field whose key in the JSON is `name`."""
    return field(default=default, metadata={"key": name})


class Fault(Exception):
    """Where a value is not what it should be, on the way out of nested records."""

    def __init__(self, path: str, value: str, should: str) -> None:
        super().__init__(path, value, should)
        self.path, self.value, self.should = path, value, should

    def below(self, place: str) -> Fault:
        """The same fault, seen from the object that holds this one at `place`."""
        joint = "" if not self.path or self.path.startswith("[") else "."
        return Fault(f"{place}{joint}{self.path}", self.value, self.should)


class Record:
    """Base of every record. `document` names the file in messages, `advice` says what to do, `error` is raised."""

    document: ClassVar[str] = "record"
    advice: ClassVar[str] = "copy the bundle again, or export again"
    error: ClassVar[type[BadInput]] = BundleError

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        found: dict[str, Any] = {}
        for each in _fields(type(self)):
            value = getattr(self, each.name)
            if is_required(each) or each.metadata.get("written") or value != _default(each):
                found[json_name(each)] = _plain(value)
        return found

    @classmethod
    def from_json(cls: type[R], value: object, where: str = "") -> R:
        """The record in a JSON object, which may be anybody's; `where` names its file in messages. Raises `cls.error`
        that names the first key that is missing, not as it should be, or none of the record's."""
        where = where or cls.document
        try:
            return read(cls, value)
        except Fault as fault:
            place = f"{where}: {fault.path}: " if fault.path else f"{where}: "
            raise cls.error(f"{place}{fault.value}. It should be {fault.should}; {cls.advice}.") from None

    def check(self) -> None:
        """Raises `Fault` where the values contradict each other; records override it."""


def read(cls: type[R], value: object) -> R:
    """`from_json` for a part of something larger: raises `Fault`, whose path begins at this object."""
    if not isinstance(value, dict):
        raise Fault("", shown(value), "an object")
    found: dict[str, Any] = {}
    known = set()
    for name, key, required, decode in _plan(cls):  # type: ignore[arg-type]
        known.add(key)
        if key not in value:
            if required:
                raise Fault(key, "it is missing", "there")
            continue
        try:
            found[name] = decode(value[key])
        except Fault as fault:
            raise fault.below(key) from None
    for key in value:
        if key not in known:
            name = shown(key).strip("'")
            raise Fault(name, "an unknown key, which a newer edge-tl may have written", "none of its keys")
    record = cls(**found)
    record.check()
    return record


def shown(value: object) -> str:
    """A value that may be anybody's, short enough for a message."""
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if type(value) is int and abs(value) >= 1 << 64:
        return "a whole number beyond 64 bits"  # which Python may refuse to write in decimals
    text = ascii(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _fields(cls: type[Record]) -> tuple[Field[Any], ...]:
    return fields(cls)  # type: ignore[arg-type]


def json_name(each: Field[Any]) -> str:
    """The key of a field."""
    return str(each.metadata.get("key", each.name))


def is_required(each: Field[Any]) -> bool:
    """Whether the key must be there."""
    return each.default is MISSING and each.default_factory is MISSING


def _default(each: Field[Any]) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


Decoder = Callable[[Any], Any]


@cache
def _plan(cls: Any) -> list[tuple[str, str, bool, Decoder]]:
    """Of every field its name, its key, whether it must be there, and what reads it."""
    hints = types_of(cls)
    return [
        (each.name, json_name(each), is_required(each), decoder(hints[each.name])) for each in _fields(cls)
    ]


@cache
def types_of(cls: Any) -> dict[str, Any]:
    """The types of the fields of a record by name, with what `Annotated` adds."""
    return get_type_hints(cls, include_extras=True)


def decoder(kind: Any) -> Decoder:
    """What turns a JSON value into `kind`, or raises `Fault`. Raises `TypeError` for a type that no JSON has."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda value: value
    if origin is Annotated:
        return _annotated(inner[0], inner[1:])
    if origin is Literal:
        return _literal(inner)
    if origin in (Union, types.UnionType):
        return _optional(inner)
    if origin is tuple:
        return _list(inner[0], None) if len(inner) == 2 and inner[1] is Ellipsis else _items(inner)
    if origin is dict:
        return _mapping(inner[1])
    if kind in _SCALARS:
        return _SCALARS[kind]
    if isinstance(kind, type) and issubclass(kind, Record):
        return lambda value: read(kind, value)
    if hasattr(kind, "from_json"):
        return _own(kind)
    raise TypeError(f"{kind} is no type of a record's field")


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Fault("", shown(value), "true or false")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise Fault("", shown(value), "text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Fault("", shown(value), "text that UTF-8 can hold") from None
    return value


def _whole(value: Any, bounds: Bounds = Bounds()) -> int:
    # Beyond 64 bits nothing is counted, and other programs cannot read it.
    if type(value) is not int or not bounds.low <= value <= bounds.high or abs(value) >= 1 << 64:
        raise Fault("", shown(value), f"a whole number{bounds}")
    return value


def _number(value: Any, bounds: Bounds = Bounds()) -> float:
    # Compared as it is: float() of a whole number with 400 digits overflows.
    if type(value) not in (int, float) or not bounds.low <= value <= bounds.high or abs(value) > _MOST:
        raise Fault("", shown(value), f"a finite number{bounds}")
    return float(value)


def _null(value: Any) -> None:
    if value is not None:
        raise Fault("", shown(value), "null")


_SCALARS: dict[Any, Decoder] = {
    bool: _flag,
    str: _text,
    int: _whole,
    float: _number,
    _NOTHING: _null,
}


def _annotated(kind: Any, extras: tuple[Any, ...]) -> Decoder:
    bounds = next((extra for extra in extras if isinstance(extra, Bounds)), None)
    if bounds is not None and kind in (int, float):
        number = _whole if kind is int else _number
        return lambda value: number(value, bounds)
    count = next((extra for extra in extras if isinstance(extra, Count)), None)
    if count is not None:
        return _list(get_args(kind)[0], count)
    inner = decoder(kind)
    pattern = next((extra for extra in extras if isinstance(extra, Pattern)), None)
    return inner if pattern is None else _matching(inner, pattern)


def _matching(inner: Decoder, pattern: Pattern) -> Decoder:
    expression = re.compile(pattern.expression)

    def decode(value: Any) -> Any:
        text = inner(value)
        if not expression.fullmatch(text):
            raise Fault("", shown(value), pattern.words)
        return text

    return decode


def _literal(allowed: tuple[Any, ...]) -> Decoder:
    def decode(value: Any) -> Any:
        if not any(value == each and type(value) is type(each) for each in allowed):
            raise Fault("", shown(value), f"one of {', '.join(map(repr, allowed))}")
        return value

    return decode


def _optional(kinds: tuple[Any, ...]) -> Decoder:
    """`X | None`, or the first of several types that fits."""
    decoders = [decoder(kind) for kind in kinds if kind is not _NOTHING]
    nullable = _NOTHING in kinds

    def decode(value: Any) -> Any:
        if value is None and nullable:
            return None
        for attempt in decoders[:-1]:
            try:
                return attempt(value)
            except Fault:
                continue
        return decoders[-1](value)

    return decode


def _list(kind: Any, count: Count | None) -> Decoder:
    inner = decoder(kind)

    def decode(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Fault("", shown(value), "a list")
        if count is not None and not count.low <= len(value) <= (count.high or len(value)):
            raise Fault("", shown(value), f"a list of {count}")
        return tuple(_at(f"[{i}]", inner, item) for i, item in enumerate(value))

    return decode


def _items(kinds: tuple[Any, ...]) -> Decoder:
    inner = [decoder(kind) for kind in kinds]

    def decode(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or len(value) != len(inner):
            raise Fault("", shown(value), f"a list of {len(inner)}")
        return tuple(
            _at(f"[{i}]", each, item) for i, (each, item) in enumerate(zip(inner, value, strict=True))
        )

    return decode


def _mapping(kind: Any) -> Decoder:
    inner = decoder(kind)

    def decode(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Fault("", shown(value), "an object")
        return {_text(key): _at(key, inner, item) for key, item in value.items()}

    return decode


def _own(kind: Any) -> Decoder:
    def decode(value: Any) -> Any:
        try:
            return kind.from_json(value)
        except BadInput as error:
            raise Fault("", shown(value), f"as edge-tl writes it ({str(error).rstrip('.')})") from None

    return decode


def _at(place: str, inner: Decoder, value: Any) -> Any:
    try:
        return inner(value)
    except Fault as fault:
        raise fault.below(place) from None


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
