"""A run on disk: `model.safetensors` and the record that knows it by hash, `run.json`; a folder without it is no run.

The record is what makes a run of new weights; until it is there the old run is whole. Trains and exports nothing;
weights are safetensors, never pickles.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from shlex import quote

import safetensors.torch
import torch
import yaml
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.device.files import (
    check_can_make,
    fsync_folder,
    read_json,
    sha256_file,
    write_atomic,
    write_json,
)
from edge_tl.host.models import architecture, factories
from edge_tl.host.models.five_crop import with_crops
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs.record import SCHEMA_VERSION, WEIGHTS, RunRecord, WeightsFile

RECORD = "run.json"
RECIPE = "recipe.yaml"
STATE = "state.safetensors"  # of a training that goes on with it; `training.resume` writes it
_MOST = 1 << 30  # bytes of a record, which lists every image: three million of them
_HEADER = "# Resume or repeat: edge-tl finetune"
_LEFT = re.compile(rf"\.{WEIGHTS}\.[0-9a-f]{{64}}|\.\.{WEIGHTS}\.[0-9a-f]{{64}}\..{{8}}|\.{RECORD}\..{{8}}")
"""Names of what a killed `save` leaves."""


def claim(run: Path, names: tuple[str, ...], is_ours: Callable[[Path], bool] | None = None) -> None:
    """Make the folder, or refuse what `check_claim` does. Raises `BadInput`."""
    check_claim(run, names, is_ours)
    run.mkdir(parents=True, exist_ok=True)


def check_claim(run: Path, names: tuple[str, ...], is_ours: Callable[[Path], bool] | None = None) -> None:
    """Refuse a folder that cannot be made, that holds something else than `names`, or that, by `is_ours`, is not known
    to be edge-tl's although its names are: somebody's own `recipe.yaml` is not written over. Raises `BadInput`."""
    if run.is_file():
        raise BadInput(f"--out {run}: a file is there. Choose a folder.")
    if run.is_dir():
        foreign = sorted(p.name for p in run.iterdir() if p.name not in names and not p.name.startswith("."))
        if foreign:
            raise BadInput(
                f"--out {run}: holds {foreign[0]!r}, which edge-tl did not write. Choose an empty folder."
            )
        held = sorted(p.name for p in run.iterdir() if not p.name.startswith("."))
        if held and is_ours and not is_ours(run):
            raise BadInput(
                f"--out {run}: holds {held[0]!r}, and nothing there says that edge-tl made it. Choose an empty folder."
            )
    check_can_make(run, "--out")


def is_ours(run: Path) -> bool:
    """Whether the folder is a run, or what a training that was stopped has left of one: its recipe begins with our
    comment. A record or a state that cannot be read counts, because it is replaced only for who asks for that."""
    with suppress(OSError):
        if (run / RECORD).is_file() or (run / STATE).is_file():
            return True
        with (run / RECIPE).open("rb") as file:
            return file.read(len(_HEADER)) == _HEADER.encode()
    return False


def write_recipe(run: Path, recipe: Recipe) -> None:
    """What the folder will be a run of, so that an unfinished one can be resumed by its name alone."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_atomic(run / RECIPE, f"{_HEADER} {RECIPE}\n{text}".encode())


def save(run: Path, model: nn.Module, record: RunRecord) -> None:
    """Make `run` the run of these weights: they are written beside the old ones, the record with their hash replaces
    the old record, then they take their place. Killed in between, it is the old run or the new one, whole; so it is
    after an `OSError`."""
    finish_save(run)
    state = unshared(model.state_dict())
    content = safetensors.torch.save(state, metadata={"model": record.model})
    sha256 = hashlib.sha256(content).hexdigest()
    record = replace(record, files=(WeightsFile("model.safetensors", sha256),))
    try:
        write_atomic(_waiting(run, sha256), content)
        write_json(run / RECORD, record.to_json())
    finally:
        finish_save(run)


def finish_save(run: Path) -> None:
    """Where `save` was stopped: weights that the record names take their place, others that wait for one go."""
    left = [path for path in run.glob(".*") if _LEFT.fullmatch(path.name)]
    if not left:
        return
    wanted = _waiting(run, _sha256(run))
    if wanted in left:
        os.replace(wanted, run / WEIGHTS)
        fsync_folder(run)
    for path in left:
        path.unlink(missing_ok=True)


def _waiting(run: Path, sha256: str) -> Path:
    """Where weights lie until the record names them."""
    return run / f".{WEIGHTS}.{sha256}"


def _sha256(run: Path) -> str:
    """What the record of `run` says of its weights; nothing where there is none that can be read."""
    with suppress(BadInput, LookupError, TypeError):
        return str(read_json(run / RECORD, most=_MOST)["files"][0]["sha256"])
    return ""


def unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """On the CPU, contiguous, and no two in the same memory, which safetensors refuses; a model may tie weights."""
    whole = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    seen: set[int] = set()
    for key, tensor in whole.items():
        if tensor.data_ptr() in seen:
            whole[key] = tensor.clone()
        seen.add(tensor.data_ptr())
    return whole


def read_run(run: Path) -> RunRecord:
    """The record of a finished run. Raises `BadInput`."""
    if not run.is_dir():
        raise BadInput(f"no such run: {run}. Give the folder that `edge-tl finetune` printed.")
    if not (run / RECORD).is_file():
        raise BadInput(f"not a finished run: {run} has no {RECORD}. {_unfinished(run)}")
    record = read_json(run / RECORD, most=_MOST)
    if record.get("schema_version") != SCHEMA_VERSION or record.get("kind") != "run":
        raise BadInput(f"{run / RECORD}: not a run of this edge-tl version. Fine-tune again.")
    return RunRecord.from_json(record, str(run / RECORD), newer_keys=True)


def _unfinished(run: Path) -> str:
    """What to type for a folder that is not a finished run."""
    if (run / "bundle.json").is_file():
        return f"It is a bundle, which is exported already; to look at it: edge-tl report {quote(str(run))}"
    if (run / RECIPE).is_file():
        return f"It was stopped; go on with it: edge-tl finetune {quote(str(run))} --resume"
    return "Give the folder that `edge-tl finetune` printed."


def load_run(run: Path) -> tuple[nn.Module, RunRecord]:
    """The fine-tuned model in evaluation mode, on its contract's input, and the record. Raises `BadInput` when a file
    was altered, and for a model of a factory that nobody named: see `factories`."""
    record = read_run(run)
    path = run / WEIGHTS
    if _waiting(run, record.sha256).is_file():  # `save` was killed before they were in place
        path = _waiting(run, record.sha256)
    if not path.is_file() or sha256_file(path) != record.sha256:
        raise BadInput(f"damaged run: {run / WEIGHTS} is not what was saved. Fine-tune again.")
    factories.check_permitted(record.model, str(run / RECORD))
    model = architecture.build(
        record.model,
        len(record.labels),
        pooled=record.pooled,
        hidden=record.hidden,
        dropout=record.dropout,
    )
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError:
        raise BadInput(f"{run / RECORD}: not the record of {WEIGHTS} beside it. Fine-tune again.") from None
    return with_crops(model.eval(), record.preprocess), record
