"""Which groups of images validate and test: stratified, repeatable, whole groups. Knows nothing of images.

A single image is a group of one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping

from edge_tl.host.seeded import seeded_order

Sizes = tuple[tuple[int, int], ...]
"""`(class, images of it)` of one unit."""


def assign_splits(
    units: Mapping[str, Sizes], shares: Mapping[str, float], *, seed: int, pinned: Collection[str]
) -> dict[str, str]:
    """`{unit: split}` for the units that leave train; `shares` are fractions of the images of each class.

    Units come in `seeded_order`. A unit leaves train when that brings the counts of its classes, all in all, nearer to
    their shares and leaves train an image of each class. Where every unit is of one class, counts are met within the
    size of one unit. The rarest class chooses first. "val" gets an image of every class where possible; `pinned` stay.
    """
    left: Counter[int] = Counter()
    of_class: dict[int, list[str]] = defaultdict(list)
    for unit in seeded_order(units, seed, name=str):
        for label, n in units[unit]:
            left[label] += n
            if unit not in pinned:
                of_class[label].append(unit)
    total = dict(left)
    place: dict[str, str] = {}
    for split, share in shares.items():
        least = 1 if split == "val" else 0
        short = {label: max(round(share * n), least) for label, n in total.items()}
        start = dict(left)

        for label in sorted(of_class, key=lambda label: (len(of_class[label]), label)):
            for unit in of_class[label]:
                if short[label] <= 0:
                    break
                if unit not in place and _spared(units[unit], left) and _gain(units[unit], short) > 0:
                    place[unit] = split
                    _count(units[unit], short, left)
            if least and left[label] == start[label]:  # every unit is too large, so the one that is least so
                free = [u for u in of_class[label] if u not in place and _spared(units[u], left)]
                if free:
                    best = max(free, key=lambda unit: _gain(units[unit], short))
                    place[best] = split
                    _count(units[best], short, left)
    return place


def _spared(sizes: Sizes, left: Mapping[int, int]) -> bool:
    return all(left[label] > n for label, n in sizes)


def _gain(sizes: Sizes, short: Mapping[int, int]) -> int:
    """By how many images the distance from what is wanted shrinks."""
    return sum(abs(short[label]) - abs(short[label] - n) for label, n in sizes)


def _count(sizes: Sizes, short: dict[int, int], left: Counter[int]) -> None:
    for label, n in sizes:
        short[label] -= n
        left[label] -= n
