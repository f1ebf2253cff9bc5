"""How to make a result again: commands to type, the recipe, versions, the hashes of the files. Writes nothing.

What a record holds may be anybody's: every word of it that a command takes is quoted for a shell.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import NamedTuple

import yaml

from edge_tl.device.format import megabytes, one_line
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.codec import Json
from edge_tl.host.reports.table import Column, Table
from edge_tl.host.runs.record import RunRecord

FILES = (
    Column("path", "file", False),
    Column("size", "size"),
    Column("sha256", "SHA-256", False),
)
_RECIPE = "recipe.yaml"


class Steps(NamedTuple):
    """Lines of what a command does and the command, the recipe as a file, versions by package, and the files."""

    commands: list[tuple[str, str]]
    recipe: str | None
    versions: list[tuple[str, str]]
    files: Table


def bundle_reproduction(record: BundleRecord) -> Steps:
    """From the images to this bundle, and what proves it on another machine."""
    provenance = record.provenance
    made = provenance.finetune if isinstance(provenance.finetune, Mapping) else {}
    recipe, name = _recipe(made.get("recipe")), shlex.quote(one_line(record.name))
    run = shlex.quote("runs/" + one_line(provenance.run or record.name).replace("\\", "/").rpartition("/")[2])
    commands = []
    if recipe is not None:
        commands.append(_finetune(run))
        changes = " ".join(_changes(made["recipe"], provenance.recipe))
        commands.append(("Export the run", f"edge-tl export {run} {changes}".strip()))
    commands += [
        ("Check the files on any machine that has a copy", f"edge-tl verify {name}"),
        ("Time them there, with memory and each step", f"edge-tl bench {name} --parts"),
    ]
    rows = [
        {"path": one_line(file.path), "size": megabytes(file.bytes, 2), "sha256": file.sha256}
        for artifact in record.artifacts
        for file in artifact.files
    ]
    return Steps(commands, recipe, _versions(provenance.versions), Table(FILES, rows))


def run_reproduction(record: RunRecord) -> Steps:
    """From the images to this run, and what comes next."""
    run = shlex.quote(f"runs/{one_line(record.name)}")
    recipe = _recipe(record.provenance.recipe)
    commands = [_finetune(run)] if recipe is not None else []
    commands.append(("Export it for a device", f"edge-tl export {run} --int8"))
    rows = [{"path": file.path, "size": "", "sha256": file.sha256} for file in record.files]
    return Steps(commands, recipe, _versions(record.provenance.versions), Table(FILES, rows))


def _finetune(run: str) -> tuple[str, str]:
    says = f"Fine-tune with the recipe below, saved as {_RECIPE} with data.path where your images lie"
    return says, f"edge-tl finetune {_RECIPE} --out {run}"


def _recipe(value: Json) -> str | None:
    """As YAML, without what was left to its default of none; None where there is none."""
    if not isinstance(value, Mapping):
        return None
    told = {
        key: {name: each for name, each in part.items() if each is not None}
        if isinstance(part, Mapping)
        else part
        for key, part in value.items()
        if part is not None
    }
    text: str = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=100)
    return text.strip()


def _changes(before: Json, after: Json) -> list[str]:
    """The options that make the recipe of the fine-tuning that of the export."""
    old, new = (each.get("export") if isinstance(each, Mapping) else None for each in (before, after))
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return []
    words = []
    for key, value in new.items():
        if key == "int8" and value is True and old.get(key) is not True:
            words.append("--int8")
        elif value is not None and old.get(key) != value and (key in old or value != "tensor"):
            words.append("--set " + shlex.quote(one_line(f"export.{key}={json.dumps(value)}")))
    return words


def _versions(found: Mapping[str, str] | None) -> list[tuple[str, str]]:
    return [(one_line(name), one_line(version)) for name, version in (found or {}).items()]
