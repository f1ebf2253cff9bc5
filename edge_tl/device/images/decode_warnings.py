"""What a person should know about how images were read, in as few sentences as there are kinds of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from edge_tl.device.images import grey
from edge_tl.device.images.decode import ALIKE

_SHOWN = 3


def warning_lines(remarked: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence for each remark of the pairs (image, remark): what, how many, and the first few by name."""
    images: dict[str, list[str]] = {}
    for image, remark in remarked:
        images.setdefault(remark, []).append(image)
    return [
        f"{remark}: {len(names)} image{'' if len(names) == 1 else 's'}, {', '.join(names[:_SHOWN])}"
        + (", …" if len(names) > _SHOWN else "")
        for remark, names in images.items()
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
