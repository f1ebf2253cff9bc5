"""What the host asks of the agent, and what the agent answers: records that cross the connection as JSON objects."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Layout:
    """A file or folder to be made on the device: its name, and the SHA-256 of each file by its path in it."""

    name: str
    files: dict[str, str]


@dataclass(frozen=True)
class Request:
    """`folder` is edge-tl's own folder on the device; `~` is the home there."""

    folder: str


@dataclass(frozen=True)
class ProbeRequest(Request):
    """What machine is it, and which of these contents (SHA-256) are missing there?"""

    objects: list[str]


@dataclass(frozen=True)
class ReceiveRequest(Request):
    """Store the contents of the tar that follows."""


@dataclass(frozen=True)
class PrepareRequest(Request):
    """Make an environment with the requirements `base` and `runtimes`.

    `any_runtime`: one of the runtimes is enough where the interpreter has it. `site_packages`: use the interpreter's
    packages. `wheels`: install from these files alone.
    """

    base: list[str]
    runtimes: list[str]
    any_runtime: bool
    site_packages: bool
    wheels: dict[str, str] | None


@dataclass(frozen=True)
class RunRequest(Request):
    """Run the words as a verb of the wheel with this content; a number stands for the path of one of the `layouts`."""

    python: str
    wheel: str
    words: list[str | int]
    layouts: list[Layout]


@dataclass(frozen=True)
class ProbeAnswer:
    """The machine as `platform.machine()` has it, and the missing contents."""

    machine: str
    missing: list[str]


@dataclass(frozen=True)
class ReceiveAnswer:
    """Everything was stored."""


@dataclass(frozen=True)
class PrepareAnswer:
    """The environment's interpreter, and whether the environment was made just now."""

    python: str
    made: bool


@dataclass(frozen=True)
class RunAnswer:
    """The verb's exit code, negative for a signal, and its standard output."""

    code: int
    out: str


@dataclass(frozen=True)
class ErrorAnswer:
    """A kind that `remote.errors` has a sentence for, and the details."""

    kind: str
    text: str


Answer = ProbeAnswer | ReceiveAnswer | PrepareAnswer | RunAnswer | ErrorAnswer
_REQUESTS = {one.__name__: one for one in (ProbeRequest, ReceiveRequest, PrepareRequest, RunRequest)}
_ANSWERS = {one.__name__: one for one in (ProbeAnswer, ReceiveAnswer, PrepareAnswer, RunAnswer, ErrorAnswer)}


def encode(message: Request | Answer) -> bytes:
    """One JSON object with the record's name under `message`."""
    return json.dumps({"message": type(message).__name__, **asdict(message)}).encode()


def decode_request(text: bytes) -> Request:
    """Raises `ValueError` for anything else."""
    name, given = _named(text)
    if name == RunRequest.__name__:
        given["layouts"] = [Layout(**layout) for layout in given["layouts"]]
    return _REQUESTS[name](**given)


def decode_answer(text: bytes) -> Answer:
    """Raises `ValueError` for anything else."""
    name, given = _named(text)
    if name not in _ANSWERS or set(given) != {field.name for field in fields(_ANSWERS[name])}:
        raise ValueError(f"no answer of edge-tl: {name}")
    return _ANSWERS[name](**given)


def _named(text: bytes) -> tuple[str, dict[str, Any]]:
    given = json.loads(text)
    if not isinstance(given, dict):
        raise ValueError("no JSON object")
    return str(given.pop("message", "")), given
