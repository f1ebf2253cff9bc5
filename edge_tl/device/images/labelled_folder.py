"""A labelled folder as a bundle's classes: which files are judged, and which are named and left out.

It must not decode an image or run a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput
from edge_tl.device.images.folder_layout import folder_layout
from edge_tl.device.images.folders import class_folders, images_in, kinds
from edge_tl.device.names import encodable, same
from edge_tl.device.text import printable


@dataclass(frozen=True)
class LabelledFolder:
    """`paths` and `labels`, int64 `(n,)`, the class of each in the bundle's order; `root` is the folder that holds the
    classes. `left_out` is `{path, reason}` of what is not used, `not_images` counts other files by kind."""

    paths: list[Path]
    labels: NDArray[np.int64]
    root: str
    left_out: list[dict[str, str]] = field(default_factory=list)
    not_images: list[dict[str, Any]] = field(default_factory=list)


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
    left_out: list[dict[str, str]] = []
    for folder in folders:
        listed = images_in(folder)
        paths += listed.images
        classes += [number[same(folder.name)]] * len(listed.images)
        left_out += [{"path": encodable(str(one.path)), "reason": one.reason} for one in listed.left_out]
        others += listed.others
    if not paths:
        first = f" ({left_out[0]['path']}: {left_out[0]['reason']})" if left_out else ""
        raise BadInput(
            f"no images below {printable(str(root))}{first}. Put each class's images into its sub-folder."
        )
    return LabelledFolder(paths, np.array(classes, np.int64), str(root), left_out, kinds(others))
