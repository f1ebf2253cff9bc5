"""How a folder of labelled images is laid out: a sub-folder per class, or splits (train, val, test) that hold them.

What looks like splits and cannot be read as such is refused: splits that become classes give a classifier of nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_tl.device.errors import BadInput
from edge_tl.device.images.folders import class_folders
from edge_tl.device.text import printable

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
_SPLIT_OF = {name: split for split, names in SPLIT_NAMES.items() for name in names}
# The longest first, or "training" would end at "train".
_ANY = "|".join(sorted(_SPLIT_OF, key=len, reverse=True))
_WHOLE = re.compile(rf"({_ANY})(?:[-_ ]?(?:set|data|images|split))?", re.IGNORECASE)
_WORD = re.compile(rf"(?<![a-z])({_ANY})(?![a-z])", re.IGNORECASE)
_WHAT = {"train": "training", "val": "validation", "test": "test"}
_DEEPEST = 3  # dataset/dataset/train, as archives unpack


@dataclass(frozen=True)
class FolderLayout:
    """`splits` are `{"train": folder, …}`, in the order train, val, test, or `{"": folder}` where it is not split;
    `beside` are folders in no split."""

    splits: dict[str, Path]
    beside: list[Path] = field(default_factory=list)


def split_of(name: str) -> str | None:
    """ "train", "val" or "test" for one of the usual names of it, in any case: Training, VAL, test_set."""
    found = _WHOLE.fullmatch(name.strip())
    return _SPLIT_OF[found[1].lower()] if found else None


def split_words(text: str) -> list[str]:
    """The splits that are words of `text`, in its order: ["train"] for "shard-train-003"."""
    return [_SPLIT_OF[word.lower()] for word in _WORD.findall(text)]


def folder_layout(root: Path) -> FolderLayout:
    """How `root` is laid out. Raises `BadInput` for what looks like splits and cannot be read as such."""
    return _layout(root, _DEEPEST)


def _layout(root: Path, deeper: int) -> FolderLayout:
    folders, here = class_folders(root), printable(str(root))
    holders = [f for f in folders if class_folders(f)]  # of folders, where classes hold images
    named = {split: [f for f in folders if split_of(f.name) == split] for split in SPLIT_NAMES}
    named = {split: found for split, found in named.items() if found}
    others = [f for f in folders if split_of(f.name) is None]
    splits = [f for found in named.values() for f in found]
    if not any(f in holders for f in splits):
        if splits and not others and len(folders) > 1:
            raise BadInput(
                f"{_names(splits)} in {here} {_are(splits)} splits by name, and hold no folder per class. "
                "Make one sub-folder per class in each."
            )
        _refuse_hidden_splits(root, folders, holders)
        if len(folders) == 1 and not splits and deeper and _any_split(holders):
            return _layout(folders[0], deeper - 1)
        return FolderLayout({"": root})
    if len(named) == 1 and others:
        if any(f in holders for f in others):  # classes with sub-folders, one of which is called train
            _refuse_unknown_splits(root, splits, [f for f in others if f in holders])
            return FolderLayout({"": root})
        raise BadInput(
            f"{_names(splits)} in {here} holds folders, as a split does, and {_names(others)} beside it "
            "holds none. Give the folder of the classes, or splits called train, val and test."
        )
    for split, found in named.items():
        if len(found) > 1:
            raise BadInput(
                f"{_names(found)} in {here} are both {_WHAT[split]} images by name. Merge them, or move "
                "one away."
            )
    if empty := [f for f in splits if f not in holders]:
        raise BadInput(
            f"{_names(empty)} in {here} holds no folder per class, as {_names(holders)} does: images "
            "without a label cannot be used. Sort them into classes, or move the folder away."
        )
    return FolderLayout({split: found[0] for split, found in named.items()}, others)


def _refuse_unknown_splits(root: Path, splits: Sequence[Path], others: Sequence[Path]) -> None:
    """Raises `BadInput` for a folder beside `splits` that holds the same several folders: the same classes again, so
    that it is a split too, by a name that says not of what."""
    classes = {f.name for split in splits for f in class_folders(split)}
    same = [f for f in others if len(classes) > 1 and {inner.name for inner in class_folders(f)} == classes]
    if same:
        raise BadInput(
            f"{_names(splits)} in {printable(str(root))} {_are(splits)} by name a split, and {_names(same)} beside it "
            f"{'hold' if len(same) > 1 else 'holds'} the same folders. Call the splits train, val and test, or move "
            f"{_names(same)} away."
        )


def _refuse_hidden_splits(root: Path, folders: Sequence[Path], holders: Sequence[Path]) -> None:
    """Raises `BadInput` for splits by other names (seg_train), within the classes, or in one folder of several."""
    here = printable(str(root))
    words = {f: split_words(f.name) for f in folders}
    kinds = {found[0] if found else None for found in words.values()}
    if len(kinds) > 1 and None not in kinds and all(f in holders for f in folders):
        raise BadInput(
            f"{_names(folders)} in {here} look like splits, by other names. Rename them to train, val and "
            "test."
        )
    if len(folders) < 2:
        return
    within = [f for f in holders if _is_split(f)]
    if within and len(within) == len(folders):
        raise BadInput(
            f"{_names(within)} in {here} each hold splits, {_names(class_folders(within[0]))}. Put the "
            "classes into the splits: train/CLASS, val/CLASS."
        )
    if within and any(class_folders(f) for f in class_folders(within[0])):
        raise BadInput(f"{printable(str(within[0]))} holds splits. Give that folder.")


def _is_split(folder: Path) -> bool:
    """Whether everything in it is called as a split is, training among it."""
    found = [split_of(f.name) for f in class_folders(folder)]
    return len(found) > 1 and None not in found and "train" in found


def _any_split(holders: Sequence[Path]) -> bool:
    """Whether splits lie in the one folder, perhaps one deeper."""
    inside = [f for folder in holders for f in class_folders(folder)]
    return any(split_of(f.name) for f in inside) or (len(inside) == 1 and _any_split(inside))


def _names(folders: Sequence[Path], most: int = 6) -> str:
    names = [printable(f.name) for f in folders[:most]]
    return ", ".join(names) + (f", … ({len(folders)})" if len(folders) > most else "")


def _are(folders: Sequence[Path]) -> str:
    return "are" if len(folders) > 1 else "is"
