"""The recipes that come with the package. Reads none of their settings."""

from __future__ import annotations

from pathlib import Path

from edge_tl.device.errors import BadInput
from edge_tl.device.files import write_atomic

_PACKAGE = Path(__file__).resolve().parents[2]


def folder() -> Path:
    """In an installed wheel inside the package, in a checkout beside it."""
    inside = _PACKAGE / "recipes"
    return inside if inside.is_dir() else _PACKAGE.parent / "recipes"


def recipes() -> list[Path]:
    """Every recipe, by name."""
    return sorted(folder().glob("*.yaml"))


def find(name: str) -> Path | None:
    """The recipe called `name`, or None."""
    return next((path for path in recipes() if path.stem == name), None)


def get(name: str) -> Path:
    """The recipe called `name`. Raises `BadInput`."""
    path = find(name)
    if path is None:
        raise BadInput(f"no recipe {name!r}. Choose one of {', '.join(p.stem for p in recipes())}.")
    return path


def copy_recipe(recipe: Path, to: Path) -> Path:
    """Copy to a new file. Raises `BadInput` rather than overwrite one."""
    if to.is_dir():
        to = to / recipe.name
    if to.exists():
        raise BadInput(f"{to} exists. Choose another name.")
    write_atomic(to, recipe.read_bytes())
    return to


def purpose(recipe: Path) -> str:
    """The first comment line of a recipe: what it is for."""
    for line in recipe.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line[2:].strip()
    return ""
