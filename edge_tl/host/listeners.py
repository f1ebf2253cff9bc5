"""Who listens to a room while it works: notes are sentences, events are the steps and epochs of a training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Note = Callable[[str], None]
Watch = Callable[[dict[str, Any]], None]
"""Called with `{"kind": "step" | "epoch", ...}`, see `train`; epochs of before a resume are `earlier`."""


def no_note(text: str) -> None:
    """Say nothing."""


def no_watch(event: dict[str, Any]) -> None:
    """Show nothing."""
