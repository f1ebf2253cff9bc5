"""How long steps tell whoever runs them how far they are; it must not print."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what, done, total)."""


def no_progress(what: str, done: int, total: int) -> None:
    """Show nothing."""
