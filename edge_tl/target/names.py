"""What a name and a label may be. It must not open a file.

A name becomes a folder, so it is one that every system takes; a label is printed in terminals and pages, so it holds
nothing that steers them.
"""

from __future__ import annotations

import re
import unicodedata

from edge_tl.target.errors import BadInput
from edge_tl.target.text import printable

LONGEST = 200  # bytes in UTF-8: file systems take 255, and things are appended
LONGEST_LABEL = 500  # characters
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}
_ENDS = re.compile(r"^[\s.]+|[\s.]+$")
_SEPARATORS = '/\\:*?"<>|'
# C0 and C1 controls, the line and paragraph separators, every bidirectional control, and lone surrogates.
_STEERING = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def fault_of_name(name: object) -> str | None:
    """Why `name` cannot name a run, a bundle or a trial; None where it can."""
    if not isinstance(name, str) or not name:
        return "it must be text"
    if steering := _STEERING.search(name):
        return f"it holds {_code(steering[0])}, which is not printed"
    if held := next((c for c in name if c in _SEPARATORS), None):
        return f"it holds {held!r}, and a name is one folder's, of any system"
    if name.startswith(".") or name != name.strip() or name.endswith("."):
        return "it begins or ends with a dot or a space"
    if name.split(".")[0].strip().lower() in _RESERVED:
        return "Windows keeps it for a device"
    if len(name.encode()) > LONGEST:
        return f"it is longer than {LONGEST} bytes"
    return None


def check_name(name: object, what: str) -> str:
    """`name`, where it can be the name of a folder in another. Raises `BadInput` that begins with `what`."""
    if fault := fault_of_name(name):
        raise BadInput(f"{what} = '{printable(str(name))}': {fault}. Choose a plain name.")
    return str(name)


def cleaned(name: str) -> str:
    """The nearest name that `check_name` takes."""
    text = _STEERING.sub("", name)
    text = _ENDS.sub("", "".join("-" if c in _SEPARATORS else c for c in text))
    text = _ENDS.sub("", text.encode()[:LONGEST].decode(errors="ignore"))
    return text if text and not fault_of_name(text) else f"run-{text}".strip("-")


def check_label(label: str, where: str) -> str:
    """`label`, where it can be printed as it is. Raises `BadInput`."""
    if not label.strip():
        raise BadInput(f"a class name in {printable(where)} is empty. Give it a name.")
    if len(label) > LONGEST_LABEL:
        raise BadInput(
            f"class name '{printable(label[:40])}…' in {printable(where)} has {len(label):,} characters, more than "
            f"{LONGEST_LABEL}. Rename the class."
        )
    if not _is_unicode(label):
        raise BadInput(
            f"class name is not Unicode text: {printable(label)!r} in {printable(where)}. Rename the class."
        )
    if steering := _STEERING.search(label):
        raise BadInput(
            f"class name '{printable(label)}' in {printable(where)} holds {_code(steering[0])}, which steers a "
            "terminal in place of being printed. Rename the class."
        )
    return label


def steers(text: str) -> bool:
    """Whether `text` holds what a terminal obeys in place of printing it, or what is no Unicode."""
    return _STEERING.search(text) is not None


def encodable(path: str) -> str:
    """`path` as a record holds it: a byte of a file name that is not UTF-8 (PEP 383) is written as its escape."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def same(name: str) -> str:
    """What two spellings of one name have in common: its composed Unicode form (NFC)."""
    return unicodedata.normalize("NFC", name)


def spelled(name: str) -> str:
    """`name` and the code points of what is not ASCII in it, for names that look alike."""
    codes = " ".join(_code(c) for c in name if ord(c) > 127)
    return f"'{printable(name)}'" + (f" ({codes})" if codes else "")


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"
