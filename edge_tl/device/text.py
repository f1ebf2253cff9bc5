"""Text that came from elsewhere (labels, file names, a device's words), made fit to be shown. It must not print."""

from __future__ import annotations

import unicodedata

# Controls (ESC, BEL, newlines, C1), formats (bidirectional overrides, zero width, soft hyphen, tags), halves of a
# surrogate pair (a file name that is not UTF-8), line and paragraph separators: none has a shape of its own, and each
# changes what stands around it.
_SHAPELESS = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # of letters in Persian and Indic scripts, and of emoji


def unseen(text: str) -> list[int]:
    """Where `text` holds what has no shape of its own: it would steer a terminal, or make a twin of another name. A
    joiner stays between two letters or pictures beyond ASCII, which look otherwise without it."""
    found = [place for place, c in enumerate(text) if unicodedata.category(c) in _SHAPELESS]
    bad = set(found)
    return [place for place in found if not (text[place] in _JOINERS and _joins(text, place, bad))]


def _joins(text: str, place: int, bad: set[int]) -> bool:
    sides = (place - 1, place + 1)
    return all(0 <= side < len(text) and side not in bad and ord(text[side]) > 0xFF for side in sides)


def printable(text: object, *, keep: str = "") -> str:
    r"""`text` on one line, every character that would act instead of being seen written as \xNN, \uNNNN or \UNNNNNNNN.

    Letters of every script, emoji and spaces stay; of the others those in `keep`, e.g. "\n" for several lines.
    """
    return "".join(
        _escape(c) if unicodedata.category(c) in _SHAPELESS and c not in keep else c for c in str(text)
    )


def _escape(character: str) -> str:
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
