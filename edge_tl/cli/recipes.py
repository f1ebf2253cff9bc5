"""The verbs recipes ls, show, copy and check. They need the `host` extra."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edge_tl.cli._console import finish, say
from edge_tl.cli._help import HELP, Grouped
from edge_tl.cli._options import Debug, Json
from edge_tl.cli._table import grid

app = typer.Typer(
    help="The recipes: ls, show, copy, check.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings=HELP,
)
Name = Annotated[str, typer.Argument(help="A recipe's name; see `edge-tl recipes ls`.")]


@app.command("ls", cls=Grouped)
def ls(json: Json = False, debug: Debug = False) -> int:
    """What there is, and what for."""
    from edge_tl.host.recipe import builtin

    found = [{"name": path.stem, "purpose": builtin.purpose(path)} for path in builtin.recipes()]
    return finish(
        {"recipes": found},
        grid(["name", "for"], [[f["name"], f["purpose"]] for f in found], left=2),
        as_json=json,
        then="next: edge-tl recipes show NAME",
    )


@app.command("show", cls=Grouped)
def show(name: Name, json: Json = False, debug: Debug = False) -> int:
    """Print a recipe."""
    from edge_tl.host.recipe import builtin

    path = builtin.get(name)
    text = path.read_text(encoding="utf-8")
    then = f"next: edge-tl recipes copy {name} my.yaml"
    if not json:  # as it is: wrapped, a copy of it were no recipe
        sys.stdout.write(text)
        sys.stdout.flush()
        say(then)
        return 0
    return finish({"name": path.stem, "text": text}, text, as_json=json, then=then)


@app.command("copy", cls=Grouped)
def copy(
    name: Name,
    to: Annotated[Path, typer.Argument(help="The file to write.")],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Copy a recipe, to change it."""
    from edge_tl.host.recipe import builtin

    written = builtin.copy_recipe(builtin.get(name), to)
    then = f"next: edit {written}, then: edge-tl recipes check {written}"
    return finish({"path": str(written)}, f"wrote {written}", as_json=json, then=then)


@app.command("check", cls=Grouped)
def check(
    recipe: Annotated[str, typer.Argument(help="A .yaml file or a recipe's name.")],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Validate a recipe and print every setting it ends up with."""
    from edge_tl.host.recipe import builtin
    from edge_tl.host.recipe import load as recipes
    from edge_tl.host.recipe.effective import effective

    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else builtin.get(recipe)
    parsed = recipes.parse(recipes.read_settings(path), source=str(path))
    settings, open_ones = parsed.model_dump(mode="json"), effective(parsed)
    flat = {
        f"{section}.{key}": value
        for section, fields in settings.items()
        if isinstance(fields, dict)
        for key, value in fields.items()
    }
    rows = [[key, open_ones.get(key) or _plain(value)] for key, value in flat.items()]
    return finish(
        {"recipe": settings, "effective": open_ones},
        grid(["setting", "value"], rows, left=2),
        as_json=json,
        then=f"next: {_command(parsed, recipe)}",
    )


def _plain(value: object) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _command(recipe: Any, given: str) -> str:
    """A command that runs as it stands, but for the folder where the recipe names none."""
    if recipe.name == "demo":
        return "edge-tl demo"
    data = "" if recipe.data.path else " --set data.path=FOLDER"
    return f"edge-tl finetune {shlex.quote(given)}{data}"
