"""File names for what is made of images, of which several may have one name."""

from __future__ import annotations

import os
from collections import Counter

_MOST_BYTES = 200  # a file system takes 255, and a suffix and a number come behind


class FreeStems:
    """Gives every image a stem of its own: its own name, cut to 200 bytes, and a number where that is taken."""

    def __init__(self) -> None:
        self._taken: set[str] = set()  # two names may be one to a file system
        self._next: Counter[str] = Counter()

    def take(self, stem: str) -> str:
        """For the next image, of this stem."""
        while len(os.fsencode(stem)) > _MOST_BYTES:
            stem = stem[:-1]
        name = stem
        while name.casefold() in self._taken:
            self._next[stem.casefold()] += 1
            name = f"{stem}-{self._next[stem.casefold()] + 1}"
        self._taken.add(name.casefold())
        return name
