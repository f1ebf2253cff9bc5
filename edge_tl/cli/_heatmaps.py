"""The pictures of `predict --explain`: which files they become, and that none is written over."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_tl.cli._saving import check_out
from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.format import percentage
from edge_tl.device.predictions.sources import ImageSources
from edge_tl.device.predictions.stems import FreeStems

if TYPE_CHECKING:
    from edge_tl.device.explain.heatmaps import Explainer
    from edge_tl.device.predictions.video import Video
    from edge_tl.device.records.prediction import Prediction

_FOLDER = Path("heatmaps")
_SUFFIX = ".heatmap.png"


@dataclass(frozen=True)
class HeatmapFiles:
    """The file of every image, by the image's path; `folder` holds them all."""

    folder: Path
    of: dict[str, Path]


def heatmap_files(found: ImageSources | Video, folder: Path | None, *, explain: bool) -> HeatmapFiles | None:
    """Where the heat map of every image goes; None where none is asked for. Raises `BadInput` for a folder that nothing
    would be written to, or in which nothing can be saved, and where a file of such a name is there already."""
    if not explain:
        if folder is not None:
            raise BadInput(f"--heatmaps {folder}: none are drawn. Add --explain, or leave it out.")
        return None
    if not isinstance(found, ImageSources) or len(found.files) < len(found.images):
        raise BadInput("--explain is for image files: save what comes on stdin, then give the file.")
    images = found.files
    folder = folder or _FOLDER
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"--heatmaps {folder}: a file is there. Give a folder.")
    stems = FreeStems()
    of = {str(image): folder / f"{stems.take(image.stem)}{_SUFFIX}" for image in dict.fromkeys(images)}
    if there := [file for file in of.values() if file.exists() or file.is_symlink()]:
        raise BadInput(f"--heatmaps {folder}: {there[0].name} is there already. Give another folder.")
    if of:
        check_out(next(iter(of.values())), "--heatmaps")
    return HeatmapFiles(folder, of)


def with_heatmaps(
    answers: Iterable[Prediction], explainer: Explainer | None, files: HeatmapFiles | None
) -> Iterator[Prediction]:
    """The answers, each after the map of its best label was written as a PNG. Raises `EdgeTLError`, `OSError`."""
    for one in answers:
        if explainer is None or files is None or one.failure is not None or one.image is None:
            yield one
        else:
            _write(explainer, one, one.image, files.of[one.image])
            yield replace(one, heatmap=str(files.of[one.image]))


def _write(explainer: Explainer, one: Prediction, image: str, file: Path) -> None:
    from edge_tl.device.explain.picture import heatmap_picture
    from edge_tl.device.files import write_atomic
    from edge_tl.device.images.caption import is_drawable
    from edge_tl.device.images.decode import examine

    bundle = explainer.model.bundle
    contract = bundle.preprocess
    decoded = examine(image, max_pixels=contract.max_pixels)
    found = explainer.explain(contract.normalize(contract.framed(decoded).pixels), one.label)
    name = one.label if is_drawable(one.label) else f"class {bundle.labels.index(one.label) + 1}"
    caption = f"{name}  {percentage(one.probability, 1)}"
    buffer = io.BytesIO()
    picture = heatmap_picture(decoded.image, found, contract.input_box(decoded.image.size), caption)
    picture.save(buffer, "PNG")
    if file.exists():  # since it was looked for
        raise EdgeTLError(f"{file} has appeared meanwhile. Give another folder with --heatmaps.")
    write_atomic(file, buffer.getvalue())
