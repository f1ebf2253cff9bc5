"""Every error a person can meet, with the exit code it ends in; it must not print or log.

    EdgeTLError                  exit 2
    ├── BadInput                 what was given cannot be used
    │   ├── BadImage             one image file cannot be decoded
    │   ├── BundleError          a folder is not a whole, unaltered bundle
    │   ├── ForeignModel         a bundle names a model that would run somebody's code here
    │   └── FellBack             another device ran than the one asked for
    ├── ReadError                a file cannot be read now, whatever it holds
    └── MissingExtra             an optional dependency is not installed
        └── MissingName          a name of the package needs one

A failed gate is a result, not an error: verbs return it and exit with `EXIT_GATE_FAILED`.
"""

from __future__ import annotations

from typing import Any

EXIT_OK = 0
EXIT_GATE_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class EdgeTLError(Exception):
    """Root of the tree. The message says what failed, the value, and what to do."""

    exit_code = EXIT_BAD_INPUT


class BadInput(EdgeTLError):
    """What was given cannot be used."""


class BadImage(BadInput):
    """One image file cannot be used; `reason` is short enough for a list.

    `of_bytes`: its bytes say so, and whoever knows them by their hash may remember it. Not so a file that is missing, a
    decoder that is not installed, or a limit that can be raised.
    """

    def __init__(self, source: str, reason: str, *, of_bytes: bool = True) -> None:
        super().__init__(f"not a usable image: {source}: {reason}. Replace or remove the file.")
        self.source, self.reason, self.of_bytes = source, reason, of_bytes

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors of worker processes arrive pickled."""
        return _bad_image, (self.source, self.reason, self.of_bytes)


def _bad_image(source: str, reason: str, of_bytes: bool) -> BadImage:
    return BadImage(source, reason, of_bytes=of_bytes)


class BundleError(BadInput):
    """A folder is not a whole, unaltered bundle."""


class ForeignModel(BadInput):
    """A bundle names a model that is not of the zoo: to build it would run code, or open a path, of somebody else."""


class FellBack(BadInput):
    """Another device ran than the one asked for; `why` says which, and how much of the model."""

    ADVICE = ". Repair its installation, or accept that with --allow-fallback."

    def __init__(self, asked: str, why: str) -> None:
        super().__init__(f"--device {asked}: {why}{self.ADVICE}")
        self.asked, self.why = asked, why

    def __reduce__(self) -> tuple[Any, ...]:
        return FellBack, (self.asked, self.why)


class ReadError(EdgeTLError):
    """A file cannot be read now: too many open files, no memory, no permission. Nothing is known about its content, so
    nobody may take it for a bad image, or remember it."""

    def __init__(self, source: str, reason: str, advice: str) -> None:
        super().__init__(f"cannot read {source}: {reason}. {advice}")
        self.source, self.reason, self.advice = source, reason, advice

    def __reduce__(self) -> tuple[Any, ...]:
        return ReadError, (self.source, self.reason, self.advice)


class MissingExtra(EdgeTLError):
    """An optional dependency is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} is not installed. Run: pip install "edge-tl[{extra}]"')
        self.what, self.extra = what, extra

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.extra)


class MissingName(MissingExtra, AttributeError):
    """A name of the package needs an optional dependency: to `hasattr` and `inspect` it is not there."""
