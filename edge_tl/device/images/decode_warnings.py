"""What a person should know about how images were read, in as few sentences as there are kinds of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from edge_tl.device.images import grey
from edge_tl.device.images.decode import ALIKE

_SHOWN = 3


def warning_lines(remarked: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence for each remark of the pairs (image, remark): what, how many, and the first few by name."""
    found = RemarkCounts()
    for image, remark in remarked:
        found.add(image, remark)
    return found.lines()


class RemarkCounts:
    """`warning_lines` of images that come one by one: of millions of them it remembers a few names."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}

    def add(self, image: str, remark: str) -> None:
        """One image that was read so."""
        self._counts[remark] += 1
        names = self._first.setdefault(remark, [])
        if len(names) < _SHOWN:
            names.append(image)

    def lines(self) -> list[str]:
        """A sentence for each remark, in the order in which they came."""
        return [
            f"{remark}: {count} image{'' if count == 1 else 's'}, {', '.join(self._first[remark])}"
            + (", …" if count > _SHOWN else "")
            for remark, count in self._counts.items()
        ]


def mixed_ranges(remarks: Iterable[str | None]) -> str | None:
    """A sentence where images of one set were read in different ways, from the remark of each of its images, None for
    one without; None where all were read alike. Images of one colour say nothing of it, unless reading
    them so made them that."""
    black = {ALIKE, f"{ALIKE}: {grey.EIGHT_BITS}", f"{ALIKE}: {grey.UNIT}"}
    telling = ((remark or "").removeprefix(f"{ALIKE}: ") for remark in remarks if remark not in black)
    ways = Counter(grey.BY_RANGE.get(remark, "by the width of their numbers") for remark in telling)
    if len(ways) < 2:
        return None
    counts = "; ".join(f"{n:,} {way}" for way, n in ways.most_common())
    return (
        f"images of this set were read in different ways, each by the range of its own values: {counts}. The same "
        "scene may be bright in one and black in another. Store all of them alike, as 8 bits or over all of 16"
    )
