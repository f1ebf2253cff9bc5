"""YAML as settings are written: mappings, lists, numbers and text of a bounded size. Gives them no meaning.

A settings file may be somebody else's. What YAML has beyond that (aliases, tags, dates, a key twice) is refused with
its line: aliases multiply a few bytes into gigabytes, and of two equal keys one would be dropped without a word.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from edge_tl.device.errors import BadInput
from edge_tl.device.text import printable

LARGEST = 1 << 18  # bytes; a recipe has one or two thousand
DEEPEST = 16
_DATE, _MERGE = "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge"


class NotYaml(BadInput):
    """Text that does not parse."""


def read_yaml(path: Path, what: str) -> Any:
    """The content of a file, at most 256 KB. Raises `BadInput` that calls the file `what` and names the line."""
    if not path.exists():
        raise BadInput(f"cannot read {printable(str(path))}: no such file. Give a {what}, as a .yaml file.")
    if not path.is_file():
        raise BadInput(f"{printable(str(path))}: not a file. Give a {what} as a .yaml file.")
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise BadInput(
            f"cannot read {printable(str(path))}: {error.strerror}. Give another {what}."
        ) from None
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{printable(str(path))} is not YAML: {error.reason} at byte {error.start}, so not UTF-8."
        ) from None
    return parse_yaml(text, printable(str(path)))


def parse_yaml(text: str, where: str) -> Any:
    """The value that `text` says. Raises `BadInput` that begins with `where`."""
    if len(text) > LARGEST:
        raise BadInput(f"{where}: more than {LARGEST >> 10} KB. Settings are a page or two; give those.")
    try:
        _check_events(text, where)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_nodes(node, where)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        at = f"line {mark.line + 1}: " if mark else ""
        reason = f"{at}{problem}" if problem else " ".join(str(error).split())
        raise NotYaml(f"{where} is not YAML: {printable(reason)}. Check the indentation.") from None
    except (ValueError, OverflowError) as error:  # as a number of 5,000 digits raises it
        raise BadInput(f"{where}: a value cannot be read ({str(error)[:120]}). Correct it.") from None


def _check_events(text: str, where: str) -> None:
    """Before anything is built: no alias, no tag, no depth that builders cannot take."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise BadInput(f"{where}, line {line}: an alias, *{event.anchor}. Write the value out.")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > DEEPEST:
            raise BadInput(f"{where}, line {line}: more than {DEEPEST} levels deep. No setting is.")
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag is not None:
            raise BadInput(
                f"{where}, line {line}: a tag, {printable(event.tag)}. Write the value without it; text in quotes."
            )


def _check_nodes(root: yaml.Node, where: str) -> None:
    todo = [root]
    while todo:
        node = todo.pop()
        if node.tag == _DATE:
            raise BadInput(
                f"{where}, line {node.start_mark.line + 1}: {node.value} is a date in YAML, and no setting is one. "
                f'Write "{node.value}" if it is text.'
            )
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            _check_keys(node, where)
            todo += [part for pair in node.value for part in pair]


def _check_keys(node: yaml.MappingNode, where: str) -> None:
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
            raise BadInput(f"{where}, line {line}: a key that is no word. Write `name: value`.")
        if key.value in lines:
            raise BadInput(
                f"{where}, line {line}: {printable(key.value)!r} is there already, in line {lines[key.value]}. Keep "
                "one."
            )
        lines[key.value] = line
