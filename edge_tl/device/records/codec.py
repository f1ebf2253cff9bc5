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

A key that is missing, of another type or value, or not the record's own is refused by name. Files are read with
`newer_keys=True`: keys may be added without another schema version, and a device outlives the host's versions.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import MISSING, Field, field, fields
from functools import cache
from typing import Any, ClassVar, TypeVar, get_type_hints

from edge_tl.device.errors import BundleError, EdgeTLError
from edge_tl.device.records.constraints import Bounds, Count, Fault, Fraction, NotEmpty, Pattern, shown
from edge_tl.device.records.values import Decoder, decoder

__all__ = [
    "Bounds", "Count", "Fault", "Fraction", "Json", "NotEmpty", "Pattern", "Record", "is_required", "json_key",
    "json_name", "shown", "written",
]  # fmt: skip

Json = Any
"""A JSON value that is passed on as it is."""

R = TypeVar("R", bound="Record")
_passes_newer_keys: ContextVar[bool] = ContextVar("passes_newer_keys", default=False)


def written(default: Any) -> Any:
    """A field that is always in the JSON, and may be missing in older files, where it is `default`."""
    return field(default=default, metadata={"written": True})


def json_key(name: str, default: Any = MISSING) -> Any:
    """A field whose key in the JSON is `name`."""
    return field(default=default, metadata={"key": name})


class Record:
    """Base of every record. `document` names the file in messages, `advice` says what to do, `error` is raised."""

    document: ClassVar[str] = "record"
    advice: ClassVar[str] = "copy the bundle again, or export again"
    error: ClassVar[type[EdgeTLError]] = BundleError

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back."""
        found: dict[str, Any] = {}
        for each in _fields(type(self)):
            value = getattr(self, each.name)
            if is_required(each) or each.metadata.get("written") or value != _default(each):
                found[json_name(each)] = _plain(value)
        return found

    @classmethod
    def from_json(cls: type[R], value: object, where: str = "", *, newer_keys: bool = False) -> R:
        """The record in a JSON object, which may be anybody's; `where` names its file in messages. Raises `cls.error`
        that names the first key that is missing, not as it should be, or, without `newer_keys`, none of the record's,
        here and in every record below."""
        where = where or cls.document
        mode = _passes_newer_keys.set(newer_keys)
        try:
            return cls.read(value)
        except Fault as fault:
            place = f"{where}: {fault.path}: " if fault.path else f"{where}: "
            said = f"{fault.value}. It should be {fault.should}" if fault.should else fault.value
            raise cls.error(f"{place}{said}; {cls.advice}.") from None
        finally:
            _passes_newer_keys.reset(mode)

    @classmethod
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
                    raise Fault(key, "it is missing")
                continue
            try:
                found[name] = decode(value[key])
            except Fault as fault:
                raise fault.below(key) from None
        for key in value:
            if key not in known and not _passes_newer_keys.get():
                name = shown(key).strip("'")
                raise Fault(name, "an unknown key, which a newer edge-tl may have written")
        record = cls(**found)
        record.check()
        return record

    def check(self) -> None:
        """Raises `Fault` where the values contradict each other; records override it."""


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


def _plain(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
