"""The Python examples of a page of the documentation, one program for each section."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def examples(page: str) -> dict[str, str]:
    """The blocks of each section of `docs/PAGE`, joined in order, by the section's heading."""
    sections = re.split(r"(?m)^## ", (DOCS / page).read_text(encoding="utf-8"))[1:]
    found = {}
    for section in sections:
        blocks = re.findall(r"(?ms)^```python\n(.*?)^```$", section)
        if blocks:
            found[section.partition("\n")[0]] = "\n".join(blocks)
    return found
