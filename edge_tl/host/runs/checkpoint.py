"""A run on disk: `model.safetensors` and the record that knows it by hash, `run.json`; a folder without it is no run.

The record is what makes a run of new weights; until it is there the old run is whole. It must not train or export;
weights are safetensors, never pickles.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import yaml
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.device.files import fsync_folder, read_json, sha256_file, write_atomic, write_json
from edge_tl.device.names import check_label, check_name
from edge_tl.host.models import factories, zoo
from edge_tl.host.recipe.schema import Head, Recipe

SCHEMA_VERSION = 1
RECORD = "run.json"
WEIGHTS = "model.safetensors"
RECIPE = "recipe.yaml"
STATE = "state.safetensors"  # of a training that goes on with it; `training.resume` writes it
_MOST = 1 << 30  # bytes of a record, which lists every image: three million of them
_HEADER = "# Resume or repeat: edge-tl finetune"
_SHA256 = re.compile("[0-9a-f]{64}")
_LEFT = re.compile(rf"\.{WEIGHTS}\.[0-9a-f]{{64}}|\.\.{WEIGHTS}\.[0-9a-f]{{64}}\..{{8}}|\.{RECORD}\..{{8}}")
"""Names of what a killed `save` leaves."""
_REQUIRED = (
    "name",
    "model",
    "weights",
    "pooled",
    "strategy",
    "labels",
    "preprocess",
    "data",
    "metrics",
    "provenance",
    "files",
)

_TEXT, _LIST, _OBJECT = (str, "text"), (list, "a list"), (dict, "an object")
_TYPES: dict[str, tuple[type, str]] = {
    "model": _TEXT,
    "weights": _TEXT,
    "pooled": (bool, "true or false"),
    "strategy": _TEXT,
    "labels": _LIST,
    "preprocess": _OBJECT,
    "data": _OBJECT,
    "metrics": _OBJECT,
    "provenance": _OBJECT,
}


def claim(run: Path, names: tuple[str, ...], is_ours: Callable[[Path], bool] | None = None) -> None:
    """Make the folder, or refuse one that holds something else than `names`, or that, by `is_ours`, is not known to be
    edge-tl's although its names are: somebody's own `recipe.yaml` is not written over. Raises `BadInput`."""
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
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"--out {run}: cannot make the folder ({error.strerror}). Choose another.") from None


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


def save(run: Path, model: nn.Module, record: dict[str, Any]) -> None:
    """Make `run` the run of these weights: they are written beside the old ones, the record with their hash replaces
    the old record, then they take their place. Killed in between, it is the old run or the new one, whole; so it is
    after an `OSError`."""
    settle(run)
    state = unshared(model.state_dict())
    content = safetensors.torch.save(state, metadata={"model": record["model"]})
    sha256 = hashlib.sha256(content).hexdigest()
    files = [{"path": WEIGHTS, "sha256": sha256}]
    try:
        write_atomic(_waiting(run, sha256), content)
        write_json(run / RECORD, {"schema_version": SCHEMA_VERSION, "kind": "run", **record, "files": files})
    finally:
        settle(run)


def settle(run: Path) -> None:
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


def read(run: Path) -> dict[str, Any]:
    """The record of a finished run. Raises `BadInput`."""
    if not run.is_dir():
        raise BadInput(f"no such run: {run}. Give the folder that `edge-tl finetune` printed.")
    if not (run / RECORD).is_file():
        raise BadInput(f"not a finished run: {run} has no {RECORD}. {_unfinished(run)}")
    record = read_json(run / RECORD, most=_MOST)
    if record.get("schema_version") != SCHEMA_VERSION or record.get("kind") != "run":
        raise BadInput(f"{run / RECORD}: not a run of this edge-tl version. Fine-tune again.")
    _check_types(record, str(run / RECORD))
    check_name(record["name"], f"{run / RECORD}: name")  # a bundle's folder is called by it
    return record


def _check_types(record: dict[str, Any], where: str) -> None:
    """Raises `BadInput` that names the first field which another program cannot have written so."""
    if missing := [key for key in _REQUIRED if key not in record]:
        raise BadInput(f"{where}: no {missing[0]!r}. The file is damaged; fine-tune again.")
    for key, (kind, should) in _TYPES.items():
        if key in record and not isinstance(record[key], kind):
            raise BadInput(f"{where}: {key} is not {should}. The file is damaged; fine-tune again.")
    if not isinstance(record["provenance"].get("recipe"), dict):
        raise BadInput(f"{where}: no 'provenance.recipe'. The file is damaged; fine-tune again.")
    labels = record["labels"]
    if not labels or not all(isinstance(label, str) for label in labels) or len(set(labels)) < len(labels):
        raise BadInput(f"{where}: labels are not different names. The file is damaged; fine-tune again.")
    for label in labels:
        check_label(label, where)
    try:
        Head.model_validate({key: record[key] for key in ("hidden", "dropout") if key in record})
    except ValueError:
        raise BadInput(
            f"{where}: hidden and dropout are not those of a head. The file is damaged; fine-tune again."
        ) from None


def _unfinished(run: Path) -> str:
    """What to type for a folder that is not a finished run."""
    if (run / RECIPE).is_file():
        return f"It was stopped; go on with it: edge-tl finetune {run} --resume"
    return "Give the folder that `edge-tl finetune` printed."


def load(run: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The fine-tuned model in evaluation mode, and the record. Raises `BadInput` when a file was altered, and for a
    model of a factory that nobody named: see `factories`."""
    record = read(run)
    files, path = record["files"], run / WEIGHTS
    if not isinstance(files, list) or [e.get("path") for e in files if isinstance(e, dict)] != [WEIGHTS]:
        raise BadInput(
            f"{run / RECORD}: its files are not {WEIGHTS} alone. The file is damaged; fine-tune again."
        )
    sha256 = str(files[0].get("sha256"))
    if (
        _SHA256.fullmatch(sha256) and _waiting(run, sha256).is_file()
    ):  # `save` was killed before they were in place
        path = _waiting(run, sha256)
    if not path.is_file() or sha256_file(path) != sha256:
        raise BadInput(f"damaged run: {run / WEIGHTS} is not what was saved. Fine-tune again.")
    factories.check_permitted(record["model"], str(run / RECORD))
    model = zoo.build(
        record["model"],
        len(record["labels"]),
        pooled=record["pooled"],
        hidden=record.get("hidden", ()),
        dropout=record.get("dropout", 0.0),
    )
    try:
        model.load_state_dict(safetensors.torch.load_file(path))
    except RuntimeError:
        raise BadInput(f"{run / RECORD}: not the record of {WEIGHTS} beside it. Fine-tune again.") from None
    return model.eval(), record
