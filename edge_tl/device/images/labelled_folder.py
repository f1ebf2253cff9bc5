"""A labelled folder as a bundle's classes: the images that count, and the files that do not.

Decodes no image and runs no model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput
from edge_tl.device.images.folder_layout import folder_layout
from edge_tl.device.images.folders import class_folders, count_kinds, images_in
from edge_tl.device.names import encodable, same
from edge_tl.device.records.image_files import FileKind, SkippedFile
from edge_tl.device.text import printable


@dataclass(frozen=True)
class LabelledFolder:
    """`paths` and `labels`, int64 `(n,)`, the class of each in the bundle's order; `root` is the folder that holds the
    classes. `skipped` are files that are not used, `not_images` counts those that are no images."""

    paths: list[Path]
    labels: NDArray[np.int64]
    root: str
    skipped: list[SkippedFile] = field(default_factory=list)
    not_images: list[FileKind] = field(default_factory=list)


def labelled_folder(labels: Sequence[str], data: Path) -> LabelledFolder:
    """The images below `data`, a folder per class, or splits of which test, or else val, is taken. Raises `BadInput`
    for classes that are not among `labels`."""
    if not data.is_dir():
        raise BadInput(
            f"no such folder: {printable(str(data))}. Give a folder with one sub-folder per class."
        )
    number = {same(label): i for i, label in enumerate(labels)}
    root = data
    if {same(f.name) for f in class_folders(data)} - set(number):  # not classes: splits that hold them
        splits = folder_layout(data).splits
        if list(splits) == ["train"]:
            raise BadInput(
                f"{printable(str(data))} holds training images alone. Give images that the model has not seen, in "
                f"test/ or val/ beside them; to judge on the training images give {printable(str(splits['train']))}."
            )
        root = splits.get("test") or splits.get("val") or splits.get("") or data
    folders = class_folders(root)
    if {same(f.name) for f in folders} - set(number) or not folders:
        raise BadInput(
            f"classes of {printable(str(root))}: {', '.join(printable(f.name) for f in folders) or 'none'}; "
            f"classes of the bundle: {', '.join(labels)}. Rename the folders to match."
        )
    paths: list[Path] = []
    classes: list[int] = []
    others: list[Path] = []
    skipped: list[SkippedFile] = []
    for folder in folders:
        listed = images_in(folder)
        paths += listed.images
        classes += [number[same(folder.name)]] * len(listed.images)
        skipped += [SkippedFile(encodable(str(one.path)), one.reason) for one in listed.skipped]
        others += listed.others
    if not paths:
        first = f" ({skipped[0].path}: {skipped[0].reason})" if skipped else ""
        raise BadInput(
            f"no images below {printable(str(root))}{first}. Put each class's images into its sub-folder."
        )
    return LabelledFolder(paths, np.array(classes, np.int64), str(root), skipped, count_kinds(others))
