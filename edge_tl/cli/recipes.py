"""`edge-tl recipes ls | show | copy | check`; it must hold no logic."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli.console import Debug, Json, finish, say
from edge_tl.cli.grid import grid

app = typer.Typer(help="The recipes: ls, show, copy, check.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="A recipe's name; see `edge-tl recipes ls`.")]


@app.command("ls")
def ls(json: Json = False, debug: Debug = False) -> int:
    """What there is, and what for."""
    from edge_tl.host import shelf

    found = [{"name": path.stem, "purpose": shelf.purpose(path)} for path in shelf.recipes()]
    return finish(
        {"recipes": found},
        grid(["name", "for"], [[f["name"], f["purpose"]] for f in found], left=2),
        as_json=json,
        then="next: edge-tl recipes show NAME",
    )


@app.command("show")
def show(name: Name, json: Json = False, debug: Debug = False) -> int:
    """Print a recipe."""
    from edge_tl.host import shelf

    path = shelf.get(name)
    text = path.read_text(encoding="utf-8")
    then = f"next: edge-tl recipes copy {name} my.yaml"
    return finish({"name": path.stem, "text": text}, text, as_json=json, then=then)


@app.command("copy")
def copy(
    name: Name,
    to: Annotated[Path, typer.Argument(help="The file to write.")],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Copy a recipe, to change it."""
    from edge_tl.host import shelf

    written = shelf.copy(shelf.get(name), to)
    then = f"next: edit {written}, then: edge-tl recipes check {written}"
    return finish({"path": str(written)}, f"wrote {written}", as_json=json, then=then)


@app.command("check")
def check(
    recipe: Annotated[str, typer.Argument(help="A .yaml file or a recipe's name.")],
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Validate a recipe and print every setting it ends up with."""
    from edge_tl.host import recipe as recipes
    from edge_tl.host import shelf

    path = Path(recipe) if recipe.endswith((".yaml", ".yml")) else shelf.get(recipe)
    settings = recipes.parse(recipes.load(path), source=str(path)).model_dump(mode="json")
    rows = [
        [f"{section}.{key}", str(value)]
        for section, fields in settings.items()
        if isinstance(fields, dict)
        for key, value in fields.items()
    ]
    say(f"next: edge-tl finetune {path}")
    return finish({"recipe": settings}, grid(["setting", "value"], rows, left=2), as_json=json)
