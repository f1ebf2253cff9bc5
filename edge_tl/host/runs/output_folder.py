"""Finished work is never overwritten unasked: which folder a new run or bundle gets, and what is refused.

Writes nothing: it reads the records that lie there.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_tl.device import bundle as bundles
from edge_tl.device.errors import BadInput
from edge_tl.device.files import read_json
from edge_tl.device.listener import Listener
from edge_tl.host.recipe import load as recipes
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint

Settings = Mapping[str, Any]

_SHOWN = 4  # differences in a message
# What changes how a run is made, not what it becomes.
# The micro-batch is one: a training that ran out of memory goes on with a smaller one, and is the same run after.
_OF_THE_WAY = (
    "name",
    "train.workers",
    "train.micro_batch",
    "train.checkpoint_seconds",
    "train.tensorboard",
    "export.",
)
# What an unfinished training goes on with, whatever it was at the start.
_MOVABLE = ("data.path ",)
_PATHS = ("data.path", "model.weights")


def differences(made: Settings, asked: Settings, *, but: tuple[str, ...] = _OF_THE_WAY) -> list[str]:
    """What two recipes differ in, as "train.epochs 20 (there 10)"; fields that begin with one of `but` do not count."""
    there, here = dict(_flat(made)), dict(_flat(asked))
    return [
        f"{key} {here.get(key)} (there {there.get(key)})"
        for key in dict.fromkeys([*here, *there])
        if here.get(key) != there.get(key) and not key.startswith(but)
    ]


def run_folder(
    base: Path,
    recipe: Recipe,
    out: Path | None,
    *,
    resumed: bool = False,
    overwrite: bool = False,
    listener: Listener,
) -> Path:
    """The folder of a new run: `out`, or `base`, numbered where that holds another run (`photos-2`).

    Raises `BadInput` where a finished run is in the way: the very one that is asked for, or another one in `out`.
    """
    if resumed and overwrite:
        raise BadInput("--resume goes on with a run, --overwrite starts it anew. Give one of them.")
    asked = recipe.model_dump(mode="json")
    if out is not None:
        if _is_finished(out) and not overwrite:
            changes = _changes(out, asked)
            if changes != [] or not resumed:
                raise BadInput(_in_the_way(out, changes))
        return out
    if overwrite:
        return base
    if resumed and (found := _to_resume(base, asked)):
        return found
    for folder in _numbered(base):
        if not _is_taken(folder):
            if folder != base:
                listener.note(f"{base} holds another run; this one goes to {folder}")
            return folder
        changes = _changes(folder, asked)
        if changes == [] and _is_finished(folder):
            raise BadInput(_in_the_way(folder, changes))
        if changes == []:
            return folder  # unfinished: whoever trains says how to go on with it
    raise AssertionError  # there is always another number


def bundle_folder(
    base: Path,
    made_of: Settings,
    out: Path | None,
    *,
    overwrite: bool = False,
    listener: Listener,
) -> Path:
    """The folder of a new bundle: `out`, or `base`, numbered where that holds another bundle. `made_of` is what the
    bundle's provenance will say: `recipe`, and `weights_sha256` of the run. Raises `BadInput` as `run_folder`."""
    if overwrite:
        return out or base
    for folder in [out] if out is not None else _numbered(base):
        if not (folder / bundles.RECORD).is_file():
            if out is None and folder != base:
                listener.note(f"{base} holds another bundle; this one goes to {folder}")
            return folder
        changes = _bundle_changes(folder, made_of)
        if changes == [] or out is not None:
            raise BadInput(_bundle_in_the_way(folder, changes))
    raise AssertionError


def finished_bundle(base: Path, made_of: Settings, *, numbered: bool) -> Path | None:
    """The bundle of exactly these settings in `base`, or where they are `numbered` in the first that holds it; None
    where there is none. `made_of` as for `bundle_folder`."""
    folders = _numbered(base) if numbered else [base]
    for folder in itertools.takewhile(lambda each: (each / bundles.RECORD).is_file(), folders):
        if _bundle_changes(folder, made_of) == []:
            return folder
    return None


def is_same(run: Path, recipe: Recipe) -> bool:
    """Whether `run` is finished and what `recipe` makes, and not an older run that another was to replace."""
    return _is_finished(run) and _changes(run, recipe.model_dump(mode="json")) == []


def refuse_another(run: Path, recipe: Recipe) -> None:
    """Raises `BadInput` that names what differs, where the unfinished training in `run` is one of other settings. Which
    images are where, and how many go through the model at once, it may go on with."""
    changes = _changes(run, recipe.model_dump(mode="json")) or []
    if others := [each for each in changes if not each.startswith(_MOVABLE)]:
        raise BadInput(
            f"{run} holds the unfinished training of another recipe; asked for: {_few(others)}. "
            "Resume with what it was started with, or give another --out."
        )


def refuse_unfinished(run: Path) -> None:
    """Raises `BadInput` where a training that can be gone on with lies in `run`."""
    if (run / checkpoint.STATE).is_file():
        raise BadInput(
            f"{run} holds an unfinished training. Go on with it (edge-tl finetune {run} --resume), choose another "
            "--out, or add --overwrite to replace it."
        )


def _numbered(base: Path) -> Iterator[Path]:
    yield base
    for number in itertools.count(2):
        yield base.with_name(f"{base.name}-{number}")


def _is_finished(run: Path) -> bool:
    return (run / checkpoint.RECORD).is_file() and not (run / checkpoint.STATE).is_file()


def _is_taken(run: Path) -> bool:
    return (run / checkpoint.RECORD).is_file() or (run / checkpoint.STATE).is_file()


def _to_resume(base: Path, asked: Settings) -> Path | None:
    """The run of these settings among the numbered ones, else the first that is unfinished."""
    there = list(itertools.takewhile(_is_taken, _numbered(base)))
    same = [run for run in there if _changes(run, asked) == []]
    unfinished = [run for run in there if not _is_finished(run)]
    return next(iter([*same, *unfinished]), None)


def _changes(run: Path, asked: Settings) -> list[str] | None:
    """How `asked` differs from what the run was made with; None where that cannot be read."""
    with suppress(BadInput, KeyError):
        if _is_finished(run):
            made = checkpoint.read_run(run).provenance.recipe
        else:
            made = recipes.parse(recipes.read_settings(run / checkpoint.RECIPE)).model_dump(mode="json")
        return differences(made, asked)
    return None


def _bundle_changes(folder: Path, made_of: Settings) -> list[str] | None:
    with suppress(BadInput, KeyError, TypeError):
        made = read_json(folder / bundles.RECORD)["provenance"]
        changes = differences(made["recipe"], made_of["recipe"], but=("name",))
        if made.get("weights_sha256") != made_of.get("weights_sha256"):
            changes.append("another training of the run")
        return changes
    return None


def _in_the_way(run: Path, changes: list[str] | None) -> str:
    with suppress(BadInput):
        record = checkpoint.read_run(run)
        right = f"{100 * record.metrics.accuracy:.2f} % right on {record.metrics.split}"
        described = f"{record.model}, {record.strategy}, {right}"
        if changes == []:
            return (
                f"{run} holds the finished run of these very settings ({described}). Export it: edge-tl export {run}; "
                "to train again add --overwrite, or give another --out."
            )
        return (
            f"{run} holds another finished run ({described}); asked for: {_few(changes)}. "
            "Give another --out, or --overwrite to replace it."
        )
    return (
        f"{run} holds a run that this edge-tl cannot read. Give another --out, or --overwrite to replace it."
    )


def _bundle_in_the_way(folder: Path, changes: list[str] | None) -> str:
    with suppress(BadInput, KeyError, TypeError):
        record = read_json(folder / bundles.RECORD)
        made = ", ".join(artifact["id"] for artifact in record["artifacts"])
        if changes == []:
            return (
                f"{folder} holds the bundle of this very run and these settings ({made}). Use it, or add --overwrite, "
                "or give another --out."
            )
        return (
            f"{folder} holds another bundle ({record['name']}: {made}); asked for: {_few(changes)}. "
            "Give another --out, or --overwrite to replace it."
        )
    return f"{folder} holds a bundle that this edge-tl cannot read. Give another --out, or --overwrite to replace it."


def _few(changes: list[str] | None) -> str:
    if changes is None:
        return "other settings"
    more = [f"and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
    return ", ".join([*changes[:_SHOWN], *more])


def _flat(settings: Settings, before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif name in _PATHS and isinstance(value, str) and (os.sep in value or name == "data.path"):
            yield name, os.path.abspath(os.path.expanduser(value))
        else:
            yield name, value
