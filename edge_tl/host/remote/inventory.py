"""The devices that a person named, on the command line or in a `targets.yaml`. It connects to none."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from edge_tl.device.errors import BadInput
from edge_tl.device.runtimes.families import Extra
from edge_tl.host.recipe import plain_yaml

DEFAULT_FOLDER = "~/.cache/edge-tl"


class RemoteDevice(BaseModel):
    """How one device is reached and what is installed there: an entry of `targets.yaml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str = Field(min_length=1)
    """What `ssh` takes: user@host, a name of the user's ssh configuration, or ssh://user@host:port."""
    python: str | None = Field(default=None, min_length=1)
    """The interpreter there; by default python3, or the newest of python3.10 and later where that is older."""
    extra: Literal[Extra, "both"] | None = None
    """The runtimes to install; by default both where OpenVINO has wheels (x86-64, 64-bit Arm), else ort."""
    folder: str = Field(default=DEFAULT_FOLDER, min_length=1)
    """Where edge-tl keeps everything on the device; ~ is the home there."""
    site_packages: bool = False
    """Use the packages that the interpreter has (a vendor's image with its own runtime) and install only what is
    missing."""

    @field_validator("host", mode="before")
    @classmethod
    def _stripped(cls, value: Any) -> Any:
        return (
            value.strip() if isinstance(value, str) else value
        )  # one spelling a host: jobs of one host run one after another

    @field_validator("host", "python")
    @classmethod
    def _no_option(cls, value: str | None) -> str | None:
        if value and value.startswith("-"):
            raise ValueError("must not begin with a dash")
        if value and not value.isprintable():
            raise ValueError("must be one line of text")
        return value


def choose(on: Sequence[str], file: Path | None) -> dict[str, RemoteDevice]:
    """Devices by name: all of the file, or those that `on` names; without a file `on` are hosts. Raises `BadInput`."""
    known = _load(file) if file else {}
    chosen: dict[str, RemoteDevice] = {}
    for name in on or known:
        if name in chosen:
            raise BadInput(f"--on {name} is given twice. Name every device once.")
        if not file:
            chosen[name] = _valid("--on", name, {"host": name})
        elif name in known:
            chosen[name] = known[name]
        else:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise BadInput(f"--on {name}: not in {file}. Nearest: {near!r}; without --targets it is a host.")
    files: dict[str, str] = {}
    for name in chosen:
        if (other := files.setdefault(file_name(name).casefold(), name)) != name:
            raise BadInput(f"{other!r} and {name!r} would be saved under one file name. Rename one.")
    return chosen


def file_name(name: str) -> str:
    """The file name of a device's result: without a path separator of any system, never hidden."""
    return "".join("_" if c in '/\\:*?"<>|' or not c.isprintable() else c for c in name).lstrip(".") + ".json"


def _load(path: Path) -> dict[str, RemoteDevice]:
    entries = plain_yaml.read_yaml(path, "list of devices")
    if not isinstance(entries, dict) or not entries:
        raise BadInput(f"{path}: names no device. Write one as `shed: {{host: pi@shed.local}}`.")
    return {str(name): _valid(str(path), str(name), fields) for name, fields in entries.items()}


def _valid(source: str, name: str, fields: Any) -> RemoteDevice:
    if not isinstance(fields, dict):
        raise BadInput(f"{source}: {name} = {fields!r}: a device is a mapping, e.g. {{host: pi@shed.local}}.")
    try:
        return RemoteDevice.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        where = f"{name}.{field}"
        if first["type"] == "extra_forbidden":
            near = difflib.get_close_matches(field.lower(), RemoteDevice.model_fields, n=1, cutoff=0.0)[0]
            raise BadInput(f"{source}: unknown key {where!r}. Nearest: {f'{name}.{near}'!r}.") from None
        if first["type"] == "missing":
            raise BadInput(
                f"{source}: {where} is missing. Write what `ssh` takes, e.g. pi@shed.local."
            ) from None
        message = first["msg"].removeprefix("Value error, ")
        raise BadInput(f"{source}: {where} = {first['input']!r}: {message}.") from None
