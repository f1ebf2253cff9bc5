"""JSON values to the types of a record's fields, or a `Fault`. Knows no key."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from edge_tl.device.errors import BadInput
from edge_tl.device.records.constraints import Bounds, Count, Fault, Pattern, shown

Decoder = Callable[[Any], Any]
_MOST = 1e300
_NOTHING = type(None)
_ANY = Bounds()


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
    if hasattr(kind, "read"):  # a `Record`
        return kind.read  # type: ignore[no-any-return]
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


def _whole(value: Any, bounds: Bounds = _ANY) -> int:
    # Beyond 64 bits nothing is counted, and other programs cannot read it.
    if type(value) is not int or not bounds.low <= value <= bounds.high or abs(value) >= 1 << 64:
        raise Fault("", shown(value), f"a whole number{bounds}")
    return value


def _number(value: Any, bounds: Bounds = _ANY) -> float:
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
