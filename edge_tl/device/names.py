"""What a name and a label may be. It must not open a file.

A name becomes a folder, so it is one that every system takes; a label is printed in terminals and pages, so it holds
nothing that steers them.
"""

from __future__ import annotations

import re
import unicodedata

from edge_tl.device.errors import BadInput
from edge_tl.device.text import printable, unseen

LONGEST = 200  # bytes in UTF-8: file systems take 255, and things are appended
LONGEST_LABEL = 500  # characters
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}
_ENDS = re.compile("^[\\s.\u200c\u200d]+|[\\s.\u200c\u200d]+$")  # a joiner at an end joins nothing
_SEPARATORS = '/\\:*?"<>|'


def fault_of_name(name: object) -> str | None:
    """Why `name` cannot name a run, a bundle or a trial; None where it can."""
    if not isinstance(name, str) or not name:
        return "it must be text"
    if places := unseen(name):
        return f"it holds {_code(name[places[0]])}, which is not printed"
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
    places = set(unseen(name))
    text = "".join(c for place, c in enumerate(name) if place not in places)
    text = _ENDS.sub("", "".join("-" if c in _SEPARATORS else c for c in text))
    text = _ENDS.sub("", text.encode()[:LONGEST].decode(errors="ignore"))
    if text and not fault_of_name(text):
        return text
    return _ENDS.sub("", f"run-{text}".encode()[:LONGEST].decode(errors="ignore")).strip("-")


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
    if places := unseen(label):
        raise BadInput(
            f"class name '{printable(label)}' in {printable(where)} holds {_code(label[places[0]])}, which steers a "
            "terminal or is not seen. Rename the class."
        )
    return label


def steers(text: str) -> bool:
    """Whether `text` holds what a terminal obeys or leaves out in place of printing it, or what is no Unicode."""
    return bool(unseen(text))


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
