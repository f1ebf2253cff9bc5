"""The labelled images of a folder: a sub-folder per class, or splits that hold them. Hashes and decodes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from edge_tl.device.errors import BadInput
from edge_tl.device.images.folder_layout import folder_layout
from edge_tl.device.images.folders import FolderListing, class_folders, count_kinds, images_in
from edge_tl.device.names import encodable, same, spelled
from edge_tl.device.records.image_files import FileKind, SkippedFile
from edge_tl.device.text import printable

_BESIDE_SPLITS = "a folder beside the splits, so in none"
_UNDERSCORES = "a folder whose name begins with __, so no class: rename it if it is one"
_NO_CLASS = frozenset(["__MACOSX", "__pycache__"])
_IN_NO_CLASS = "an image beside the class folders, so in none"


class ListedImage(NamedTuple):
    """One image that a source names: `path` relative to the source's root."""

    path: str
    label: str
    split: str | None
    group: str | None = None
    member: tuple[int, int] | None = None


@dataclass(frozen=True)
class ImageList:
    """What a source holds: its labels in order and its images.

    Not used are `skipped` files, which lie in a class, those `beside` the classes, and `not_images`.
    """

    root: Path
    labels: list[str]
    rows: list[ListedImage]
    skipped: list[SkippedFile] = field(default_factory=list)
    beside: list[SkippedFile] = field(default_factory=list)
    not_images: list[FileKind] = field(default_factory=list)


def list_class_folders(root: Path) -> ImageList:
    """Every image of `root` with its class and split. Raises `BadInput` for an empty or closed class, for splits of
    different classes, and for what looks like splits and cannot be read as such."""
    way = folder_layout(root)
    spelling: dict[str, str] = {}  # by its composed form, which Unicode says is the same name
    rows: list[ListedImage] = []
    skipped: list[SkippedFile] = []
    others: list[Path] = []
    here: dict[str, set[str]] = {}
    beside = [SkippedFile(_below(root, f), _BESIDE_SPLITS) for f in way.beside]
    for split, folder in way.splits.items():
        strays = images_in(folder, below=False)
        beside += [SkippedFile(_below(root, p), _IN_NO_CLASS) for p in strays.images]
        beside += [SkippedFile(_below(root, one.path), one.reason) for one in strays.skipped]
        beside += [SkippedFile(_below(root, p), _UNDERSCORES) for p in _dunder_folders(folder)]
        for class_folder, name in _one_spelling(folder):
            label = spelling.setdefault(same(name), name)
            listed = images_in(class_folder)
            if not listed.images:
                raise BadInput(_empty(class_folder, listed))
            rows += [ListedImage(str(p.relative_to(root)), label, split or None) for p in listed.images]
            skipped += [SkippedFile(_below(root, one.path), one.reason) for one in listed.skipped]
            others += [p.relative_to(root) for p in listed.others]
            here.setdefault(split, set()).add(label)
    labels = sorted(set().union(*here.values()))
    for split in way.splits:
        if len(labels) > 1 and here.get(split) != set(labels):
            raise BadInput(
                f"classes of {split}: {', '.join(sorted(here.get(split, ())))}; of all splits: "
                f"{', '.join(labels)}. Give every split the same classes."
            )
    return ImageList(root, labels, rows, skipped, beside, count_kinds(others))


def check_spellings(labels: Iterable[str], where: str) -> None:
    """Raises `BadInput` for two labels that Unicode says are one name, which look alike."""
    first: dict[str, str] = {}
    for label in labels:
        if (other := first.setdefault(same(label), label)) != label:
            raise BadInput(
                f"two class names in {printable(where)} differ only in their Unicode form: {spelled(other)} and "
                f"{spelled(label)}. Give both the same form."
            )


def _dunder_folders(root: Path) -> list[Path]:
    """Sub-folders of `root` that are no class for their name alone, as Python's are, and might be meant as one."""
    found = [p for p in root.iterdir() if p.name.startswith("__") and p.name not in _NO_CLASS and p.is_dir()]
    return sorted(found)


def _one_spelling(folder: Path) -> list[tuple[Path, str]]:
    folders = class_folders(folder)
    check_spellings((f.name for f in folders), str(folder))
    return [(f, f.name) for f in folders]


def _empty(folder: Path, listed: FolderListing) -> str:
    name, where = printable(folder.name), printable(str(folder))
    if listed.skipped:
        first = listed.skipped[0]
        more = f", and {len(listed.skipped) - 1} more" if len(listed.skipped) > 1 else ""
        return (
            f"class {name!r} has no image that can be used: {printable(str(first.path))}: {first.reason}{more}. "
            "Repair that, or remove the folder."
        )
    held = ", ".join(f"{entry.n} {entry.kind}" for entry in count_kinds(listed.others)[:6])
    but = f", but {held}" if held else ""
    return f"class {name!r} is empty: {where} holds no image{but}. Add images, or remove it."


def _below(root: Path, path: Path) -> str:
    return encodable(str(path.relative_to(root)))
