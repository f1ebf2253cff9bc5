"""The classes of a folder in the order of a classifier's outputs. Opens no weights and no image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edge_tl.device.errors import BadInput
from edge_tl.device.names import same
from edge_tl.host.images.dataset import Listing

_SHOWN = 12


def match_labels(found: Listing, outputs: int, labels: Path | None, *, reorder: bool) -> Listing:
    """The listing with its labels in the order of the model's `outputs`: the lines of the file `labels`, else the
    folder's classes. Raises `BadInput` where they are not as many, other ones, or, without `reorder`, in another
    order."""
    given = found.labels if labels is None else _read_labels(labels)
    if len(given) != outputs:
        raise BadInput(_wrong_number(found, outputs, labels, given))
    # A folder may be called by another Unicode form of the label.
    form = {same(label): label for label in given}
    found = replace(found, labels=[form.get(same(label), label) for label in found.labels])
    if given == found.labels:
        return found
    if foreign := [label for label in found.labels if label not in given]:
        raise BadInput(
            f"class {foreign[0]!r} of {found.root} is not among the labels. Labels of the model: {_list(given)}; "
            f"classes of the folder: {_list(found.labels)}. Rename the folders to match."
        )
    if missing := [label for label in given if label not in found.labels]:
        raise BadInput(
            f"label {missing[0]!r} has no images in {found.root}. Labels of the model: {_list(given)}; classes of the "
            f"folder: {_list(found.labels)}. Add a folder for each."
        )
    if not reorder:
        first = next(i for i, (a, b) in enumerate(zip(given, found.labels, strict=True)) if a != b)
        raise BadInput(
            f"the classes are in another order, from number {first + 1} on. Labels of the model: "
            f"{_list(given, first)}; classes of the folder: {_list(found.labels, first)}. If the file is in the order "
            "of the outputs, add --reorder to match them by name."
        )
    place = {label: i for i, label in enumerate(given)}
    moved = [s.relabelled(place[found.labels[s.label]]) for s in found.samples]
    return replace(found, labels=given, samples=moved)


def _read_labels(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(
            f"--labels {path}: cannot be read ({error}). Give a text file, one label a line."
        ) from None
    labels = [line.strip() for line in lines if line.strip()]
    if len(set(labels)) != len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise BadInput(f"--labels {path}: {twice!r} comes twice. Every output has one label of its own.")
    return labels


def _wrong_number(found: Listing, outputs: int, labels: Path | None, given: list[str]) -> str:
    where = f"--labels {labels}" if labels else str(found.root)
    folders = f" Classes of the folder: {_list(found.labels)}." if labels else ""
    advice = (
        "Give the file that belongs to these weights."
        if labels
        else "Give the folder it was trained for, or its labels with --labels FILE."
    )
    return (
        f"the model has {outputs} outputs, {where} has {len(given)} labels: {_list(given)}.{folders} {advice}"
    )


def _list(names: list[str], first: int = 0) -> str:
    """Some of the names, `first` among them."""
    start = first if len(names) > _SHOWN else 0
    shown = ", ".join(names[start : start + _SHOWN])
    more = f", … ({len(names)})" if len(names) > start + _SHOWN else ""
    return f"…, {shown}{more}" if start else shown + more
