"""Seeds and orders that follow from a seed and from names alone, the same on every machine. Keeps no state."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def derive_seed(*parts: object) -> int:
    """A seed in [0, 2^63) that depends on all of `parts` and on nothing else."""
    digest = hashlib.blake2b(":".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seeded_order(items: Iterable[T], seed: int, *, name: Callable[[T], str]) -> list[T]:
    """`items` in an order that only `seed` and their names decide. Without one of them the others keep their order."""
    return sorted(items, key=lambda item: hashlib.sha256(f"{seed}:{name(item)}".encode()).digest())
