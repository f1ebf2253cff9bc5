"""What a person should know about how images were read, in as few sentences as there are kinds of it."""

from __future__ import annotations

from collections.abc import Iterable

_SHOWN = 3


def sentences(remarked: Iterable[tuple[str, str]]) -> list[str]:
    """One sentence for each remark of the pairs (image, remark): what, how many, and the first few by name."""
    images: dict[str, list[str]] = {}
    for image, remark in remarked:
        images.setdefault(remark, []).append(image)
    return [
        f"{remark}: {len(names)} image{'' if len(names) == 1 else 's'}, {', '.join(names[:_SHOWN])}"
        + (", …" if len(names) > _SHOWN else "")
        for remark, names in images.items()
    ]
