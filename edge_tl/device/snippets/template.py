"""The little that the programs' templates need: parts that are there or not, and names that stand for text. What is
inserted is never read as a template again. Knows no language.

A line `@@if FLAG`, `@@else` or `@@end` begins and ends a part and is no part of the program; `@@name@@` is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set

_DIRECTIVE = re.compile(r"@@(if|else|end)\b ?(\w*)\s*")
_NAME = re.compile(r"@@(\w+)@@")


def fill(template: str, flags: Set[str], values: Mapping[str, str]) -> str:
    """`template` with the parts whose flag is one of `flags`, and every name replaced by its value. Raises `KeyError`
    for a name without a value, `ValueError` for an `@@if` without its `@@end`."""
    kept: list[str] = []
    shown: list[bool] = []
    for line in template.splitlines():
        found = _DIRECTIVE.fullmatch(line)
        if found is None:
            if all(shown):
                kept.append(line)
        elif found[1] == "if":
            shown.append(found[2] in flags)
        elif not shown:
            raise ValueError(f"{line} without @@if")
        elif found[1] == "else":
            shown[-1] = not shown[-1]
        else:
            shown.pop()
    if shown:
        raise ValueError("@@if without @@end")
    # A part that is left out leaves its empty lines behind.
    text = re.sub(r"\n{4,}", "\n\n\n", "\n".join(kept) + "\n")
    return _NAME.sub(lambda name: values[name[1]], text)
