"""Text and numbers as literals of a programming language. Labels and file names are anybody's: nothing in them may end
a literal, whatever the language does with it before it reads literals."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

# What stands for itself in every language here, in a string and in a comment.
_PLAIN = re.compile(r"[A-Za-z0-9 _.,()+/-]")
_LINE = 76  # characters of text on a line of a program, before escapes


def _octal(character: str) -> str:
    """C++: each byte of UTF-8 as exactly three octal digits, which a digit that follows cannot lengthen."""
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogatepass"))


def _utf16(character: str) -> str:
    """JavaScript and C#."""
    data = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{data[i]:02x}{data[i + 1]:02x}" for i in range(0, len(data), 2))


def _java(character: str) -> str:
    r"""Java reads \u0022 as a quote before it looks for literals, so what is ASCII is octal."""
    return f"\\{ord(character):03o}" if ord(character) < 0x80 else _utf16(character)


def _python(character: str) -> str:
    return f"\\U{ord(character):08x}"


def _rust(character: str) -> str:
    # Half a surrogate pair is no character of Rust; no label and no path of a checked bundle has one.
    code = ord(character)
    return f"\\u{{{code:x}}}" if not 0xD800 <= code < 0xE000 else "\\u{fffd}"


_ESCAPES: dict[str, Callable[[str], str]] = {
    "python": _python,
    "cpp": _octal,
    "javascript": _utf16,
    "java": _java,
    "csharp": _utf16,
    "rust": _rust,
}
_PIECES = {"cpp": "\n    ", "rust": ",\n    "}  # what stands between the literals of one long text


def string_literal(text: str, lang: str) -> str:
    """`text` in double quotes, in ASCII."""
    escape = _ESCAPES[lang]
    return '"' + "".join(c if _PLAIN.fullmatch(c) else escape(c) for c in text) + '"'


def long_literal(text: str, lang: str) -> str:
    """`text` as an expression of one or more literals, one a line."""
    pieces = [text[at : at + _LINE] for at in range(0, len(text), _LINE)] or [""]
    joined = _PIECES.get(lang, " +\n    ").join(string_literal(piece, lang) for piece in pieces)
    return f"concat!({joined})" if lang == "rust" else joined


def list_literal(texts: tuple[str, ...], lang: str) -> str:
    """The items of a list, as many on a line as fit, each line indented and ending with a comma."""
    lines, width = [""], 0
    for literal in (string_literal(text, lang) for text in texts):
        if width and width + len(literal) > _LINE + 30:
            lines.append("")
            width = 0
        lines[-1] += f"{literal}, "
        width += len(literal) + 2
    return "\n".join(f"    {line.rstrip()}" for line in lines)


def float_literals(values: tuple[float, ...], lang: str) -> str:
    """The float32 nearest to each, in the fewest digits that mean it."""
    suffix = "f" if lang in ("cpp", "java", "csharp") else ""
    shown = (np.format_float_positional(np.float32(value), unique=True, trim="0") for value in values)
    return ", ".join(f"{text}{suffix}" for text in shown)


def comment(text: str) -> str:
    """`text` fit for a comment of any language, on one line."""
    return "".join(c if _PLAIN.fullmatch(c) else "?" for c in text)
