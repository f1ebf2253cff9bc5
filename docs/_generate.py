"""MkDocs hook: the command line and the recipe fields are documented by the program itself.

A page with `<!-- generated: NAME -->` (verbs, recipes, recipe) gets the text there when the site is built.
Nothing is written to the repository, so nothing can be out of date. It imports no PyTorch.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import typer

from edge_tl.cli import app

SCHEMA = Path(__file__).resolve().parents[1] / "edge_tl" / "host" / "recipe" / "schema.py"
RECIPES = SCHEMA.parents[3] / "recipes"
WORDS = {"int": "integer", "float": "number", "str": "text", "bool": "true or false"}
SIGNS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """What MkDocs calls with every page's text."""
    for name, make in {"verbs": verbs, "recipes": recipes, "recipe": recipe}.items():
        marker = f"<!-- generated: {name} -->"
        if marker in markdown:
            markdown = markdown.replace(marker, make())
    return markdown


def verbs() -> str:
    """Every verb with its arguments and options, as `edge-tl VERB --help` prints them."""
    group: Any = typer.main.get_command(app)
    context = group.context_class(group, info_name="edge-tl")
    return "\n".join(
        _command(group.get_command(context, name), f"edge-tl {name}", context, level=2)
        for name in group.list_commands(context)
    )


def _command(command: Any, path: str, parent: Any, *, level: int) -> str:
    context = command.context_class(command, info_name=path.split()[-1], parent=parent)
    lines = [f"{'#' * level} {path}", "", _cell(command.help or ""), ""]
    usage = " ".join(command.collect_usage_pieces(context))
    lines += ["```text", f"{path} {usage}", "```", ""]
    if not hasattr(command, "list_commands"):
        for title, rows in command.option_groups(context).items():
            lines += [f"| {title} | |", "|---|---|"]
            lines += [f"| {_code(name)} | {_cell(text)} |" for name, text in rows]
            lines.append("")
        if examples := command.examples(context):
            lines += ["```sh", *examples, "```", ""]
    else:
        lines += [
            _command(command.get_command(context, name), f"{path} {name}", context, level=level + 1)
            for name in command.list_commands(context)
        ]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def recipes() -> str:
    """Every recipe of the package with the first sentence of its file."""
    lines = ["| recipe | for |", "|---|---|"]
    for path in sorted(RECIPES.glob("*.yaml")):
        first = path.read_text("utf-8").partition("\n")[0].removeprefix("#").strip()
        lines.append(f"| `{path.stem}` | {_cell(first)} |")
    return "\n".join(lines)


def recipe() -> str:
    """Every field of a recipe with what it takes, its default and its meaning, read from the schema's source."""
    body = ast.parse(SCHEMA.read_text("utf-8")).body
    classes = {node.name: node for node in body if isinstance(node, ast.ClassDef)}
    aliases = {
        node.targets[0].id: node.value
        for node in body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    lines: list[str] = []
    for name, kind, _, _ in fields(classes["Recipe"]):
        if not (isinstance(kind, ast.Name) and kind.id in classes):
            continue  # name and seed, which the page describes
        found = classes[kind.id]
        lines += [f"## {name}", "", _cell(ast.get_docstring(found) or ""), ""]
        lines += ["| field | takes | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{name}.{field}` | {_cell(takes(given, aliases))} | {_yaml(default)} | {_cell(text)} |"
            for field, given, default, text in fields(found)
        ]
        lines.append("")
    return "\n".join(lines)


def fields(found: ast.ClassDef) -> list[tuple[str, ast.expr, str, str]]:
    """Name, annotation, default and docstring of each field of a section."""
    rows = []
    for node, after in zip(found.body, [*found.body[1:], None], strict=True):
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            continue
        text = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            text = str(after.value.value)
        default = "" if node.value is None else ast.unparse(node.value)
        rows.append((node.target.id, node.annotation, default, text))
    return rows


def takes(kind: ast.expr, aliases: dict[str, ast.expr]) -> str:
    """An annotation in words: `Annotated[int, Field(ge=2)] | None` is "integer, at least 2, or null"."""
    if isinstance(kind, ast.Name):
        return takes(aliases[kind.id], aliases) if kind.id in aliases else WORDS.get(kind.id, kind.id)
    if isinstance(kind, ast.Constant):
        return "null"
    if isinstance(kind, ast.BinOp):
        return f"{takes(kind.left, aliases)}, or {takes(kind.right, aliases)}"
    if not isinstance(kind, ast.Subscript):
        return ast.unparse(kind)
    name, inner = ast.unparse(kind.value), kind.slice
    parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        return " or ".join(f"`{part.value!s}`" for part in parts if isinstance(part, ast.Constant))
    if name == "Annotated":
        bounds = [
            f", {SIGNS[word.arg]} {ast.unparse(word.value).replace(' ** ', '^')}"
            for part in parts[1:]
            if isinstance(part, ast.Call)
            for word in part.keywords
            if word.arg in SIGNS
        ]
        return takes(parts[0], aliases) + "".join(bounds)
    if name == "list":
        return f"list of {takes(parts[0], aliases)}"
    return f"{len(parts)} of {takes(parts[0], aliases)}"


def _yaml(text: str) -> str:
    return _code(text.replace("None", "null").replace("True", "true").replace("False", "false"))


def _code(text: str) -> str:
    return f"`{text}`".replace("|", "\\|") if text else ""
