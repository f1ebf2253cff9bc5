"""Lines of text as wide as a terminal, broken at spaces: never inside a path or a name, and a command stays one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_HELD = "\0"  # a space that no line is broken at
_QUOTED = re.compile(r"'[^'\n]* [^'\n]*'(?!\w)|\"[^\"\n]* [^\"\n]*\"(?!\w)")
_COLUMNS = re.compile(r"\S {2,}\S")  # a row of a table, which has its width already
_ENDS = ";:,)`"  # what a command in a sentence ends with
_ARGUMENT = re.compile(r"-|[A-Z\d]+$|.*[/._=\0\d]")
_GOES_ON = " \\"  # what a shell takes for "the command goes on"


def wrapped(text: str, width: int | None, names: Sequence[str] = ()) -> str:
    """`text` in lines of at most `width` characters, where its words are not longer; None: as it is. `names` hold
    spaces and are kept whole, as is what stands in quotes."""
    if width is None:
        return text
    return "\n".join(
        line if len(line) <= width or _COLUMNS.search(line) else _filled(line, width, names)
        for line in text.split("\n")
    )


def _filled(line: str, width: int, names: Sequence[str]) -> str:
    text = line.lstrip(" ")
    margin = " " * (len(line) - len(text))
    for name in names:
        text = text.replace(name, name.replace(" ", _HELD))
    text = _QUOTED.sub(lambda found: found[0].replace(" ", _HELD), text)
    lines = [margin]
    for command in _pieces(text.split(" ")):
        _add(lines, command, width, margin)
    return "\n".join(lines).replace(_HELD, " ")


def _add(lines: list[str], words: list[str], width: int, margin: str) -> None:
    """A word of a sentence, or all words of a command: on the last line where it fits, else on a new one; a command
    longer than a line is broken as a shell reads it."""
    fresh = lines[-1].strip() == ""
    whole = " ".join(words)
    if len(lines[-1]) + (not fresh) + len(whole) <= width:
        lines[-1] += whole if fresh else f" {whole}"
        return
    if not fresh:
        lines.append(margin)
    if len(words) == 1 or len(margin) + len(whole) <= width:
        lines[-1] += whole
        return
    lines[-1] += words[0]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) + len(_GOES_ON) <= width:
            lines[-1] += f" {word}"
        else:
            lines[-1] += _GOES_ON
            lines.append(f"{margin}    {word}")


def _pieces(words: Sequence[str]) -> Iterator[list[str]]:
    """Single words, and the words of each command of edge-tl together: after a colon all up to its end, elsewhere those
    that are no words of a sentence."""
    command: list[str] = []
    announced, before = False, ""
    for word in words:
        if command and (announced or _belongs(word, command)):
            command.append(word)
        else:
            if command:
                yield command
            command = [word] if word.lstrip("(`") == "edge-tl" else []
            announced = before.endswith(":")
            if not command:
                yield [word]
        if command and word[-1:] in _ENDS:
            yield command
            command = []
        before = word
    if command:
        yield command


def _belongs(word: str, command: Sequence[str]) -> bool:
    """Whether a word after those of a command is one of it: its verb, an option and its value, a path or a NAME."""
    before = command[-1]
    return len(command) == 1 or before.startswith("-") or _ARGUMENT.match(word) is not None
