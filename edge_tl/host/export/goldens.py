"""The goldens of a bundle: encoded images of every kind, their contract pixels and every model's logits on them.

Decides nothing about a result. What a device makes of them is for `edge_tl.device.gates`.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import bundle as bundles
from edge_tl.device import metrics
from edge_tl.device.errors import BadImage
from edge_tl.device.files import read_json, write_json
from edge_tl.device.images.decode import decode, format_anywhere, pixel_limit
from edge_tl.device.images.reading import with_retries
from edge_tl.device.machine import cores_allowed
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.records.bundle import GoldenRecord
from edge_tl.device.records.stages import GoldenStages, StagesRecord
from edge_tl.device.runtimes.open import Logits, Runtime
from edge_tl.device.stages import (
    OF_LEVELS,
    STAGES_FILE,
    STAGES_RECORD,
    array_sha256,
    framed_sample,
    keep_answers,
    stage_record,
    stages_of,
)
from edge_tl.host.export.golden_kinds import KINDS, kind_of
from edge_tl.host.export.image_sets import in_turn
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.images.shards import Member

LEAST_GOLDENS = 32
_GOLDEN_BYTES = 300_000
_LOOKED_AT = 128  # images of the user's among which kinds are looked for
_OWN = 4  # the least images of the user's beside the kinds
_LARGE_INPUT = (
    448 * 448
)  # pixels, beyond which as few goldens are made as may be: their arrays are most of them
_SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "TIFF": ".tif",
    "JPEG2000": ".jp2",
}  # of Pillow's names; else the name itself


@dataclass(frozen=True)
class GoldenImages:
    """`count` goldens are made of `samples` of the `dataset`, more where the kinds of files need them, fewer where
    there are too few images."""

    dataset: Dataset
    samples: Sequence[Sample]
    count: int


@dataclass(frozen=True)
class _Golden:
    """An encoded image, and which of `KINDS` it stands for, if for any; `made` where it is not the user's file."""

    suffix: str
    content: bytes
    kind: str | None = None
    made: bool = False

    def name(self, place: int) -> str:
        """The path below the bundle's folder of the `place`-th."""
        return f"golden/images/{place:02d}{f'-{self.kind}' if self.kind else ''}{self.suffix}"

    def record(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> GoldenStages:
        """What its stages, `arrays`, gave; nothing was answered yet."""
        stages = {stage: stage_record(array) for stage, array in arrays.items()}
        return GoldenStages(name, **stages, logits={}, label={}, kind=self.kind, made=self.made)


class _Staged(NamedTuple):
    """A golden's record, what its stages left of its pixels, and the model's input, float32 `(3, H, W)`."""

    record: GoldenStages
    samples: dict[str, NDArray[np.uint8]]
    inputs: NDArray[np.float32]


def write_goldens(
    folder: Path,
    runtimes: Mapping[str, Runtime],
    contract: Preprocess,
    images: GoldenImages,
    lost: Callable[[str, Exception], None] | None = None,
) -> tuple[GoldenRecord, dict[str, Logits]]:
    """Encoded images, their contract pixels and every runtime's logits, below `folder/golden`; returns their record and
    the logits.

    Beside evaluation images, classes in turn, there is one of every kind of file that decoders disagree on: the user's
    own where one of the first is of the kind, else made of an evaluation image. `lost` as in `evaluate`.
    """
    goldens, left_out = _choose(contract, images)
    names = [golden.name(place) for place, golden in enumerate(goldens)]
    (folder / "golden" / "images").mkdir(parents=True)

    def staged(name: str, golden: _Golden) -> _Staged:
        (folder / name).write_bytes(golden.content)
        arrays = stages_of(contract, golden.content)  # not kept: a large image has a hundred megabytes
        samples = {stage: framed_sample(arrays[stage]) for stage in OF_LEVELS}
        return _Staged(golden.record(name, arrays), samples, arrays["normalize"])

    with ThreadPoolExecutor(cores_allowed()) as pool:
        found = list(pool.map(staged, names, goldens))
        pixels = np.stack([each.inputs for each in found])
        written = pool.submit(np.savez_compressed, folder / bundles.GOLDEN_PIXELS, pixels=pixels)
        logits = _answers(runtimes, pixels, lost)
        _write_stages(folder, found, logits)
        written.result()
    np.savez(folder / bundles.GOLDEN_LOGITS, allow_pickle=False, **logits)
    stored = (*names, bundles.GOLDEN_PIXELS, bundles.GOLDEN_LOGITS, STAGES_FILE, STAGES_RECORD)
    files = tuple(bundles.file_record(folder, name) for name in stored)
    return GoldenRecord(tuple(names), files, left_out), logits


def without_logits(folder: Path, golden: GoldenRecord, names: Collection[str]) -> GoldenRecord:
    """The goldens after the logits of the artifacts `names`, which are gone, were taken out of them."""
    path = folder / bundles.GOLDEN_LOGITS
    with np.load(path, allow_pickle=False) as found:
        kept = {name: found[name] for name in found.files if name not in names}
    np.savez(path, allow_pickle=False, **kept)
    keep_answers(folder, golden, set(kept))
    return replace(golden, files=tuple(bundles.file_record(folder, file.path) for file in golden.files))


def with_logits(folder: Path, golden: GoldenRecord, more: Mapping[str, Logits]) -> GoldenRecord:
    """The goldens with `more`, logits `(n, classes)` of further artifacts by id."""
    path = folder / bundles.GOLDEN_LOGITS
    with np.load(path, allow_pickle=False) as found:
        whole = {name: found[name] for name in found.files}
    np.savez(path, allow_pickle=False, **whole, **more)
    record = StagesRecord.from_json(read_json(folder / STAGES_RECORD))
    images = tuple(_answered(each, place, more) for place, each in enumerate(record.images))
    write_json(folder / STAGES_RECORD, StagesRecord(images).to_json())
    return replace(golden, files=tuple(bundles.file_record(folder, file.path) for file in golden.files))


def _answered(record: GoldenStages, place: int, logits: Mapping[str, Logits]) -> GoldenStages:
    """With the answers of the models in `logits`, whose rows at `place` are of this image."""
    rows = {name: found[place] for name, found in logits.items()}
    digests = {name: array_sha256(row) for name, row in rows.items()}
    labels = {name: int(metrics.top1(row[None])[0]) for name, row in rows.items()}
    return replace(record, logits=record.logits | digests, label=record.label | labels)


def _write_stages(folder: Path, found: Sequence[_Staged], logits: Mapping[str, Logits]) -> None:
    """The record of the stages, with the answers in `logits`, and their samples."""
    images = tuple(_answered(each.record, place, logits) for place, each in enumerate(found))
    write_json(folder / STAGES_RECORD, StagesRecord(images).to_json())
    stacked = {stage: np.stack([each.samples[stage] for each in found]) for stage in OF_LEVELS}
    np.savez_compressed(folder / STAGES_FILE, allow_pickle=False, **stacked)


def _answers(
    runtimes: Mapping[str, Runtime],
    pixels: NDArray[np.float32],
    lost: Callable[[str, Exception], None] | None,
) -> dict[str, Logits]:
    """Logits `(n, classes)` by runtime: one image a call, as a device's application does it and as `verify` will."""
    logits = {}
    for name, runtime in runtimes.items():
        try:
            logits[name] = np.concatenate([runtime(pixels[i : i + 1]) for i in range(len(pixels))])
        except Exception as error:
            if lost is None:
                raise
            lost(name, error)
    return logits


def _choose(contract: Preprocess, images: GoldenImages) -> tuple[list[_Golden], dict[str, str]]:
    """The goldens, the user's own first, and why a kind is not among them."""
    chosen = sorted(
        images.dataset.sources(in_turn(images.samples, 0)), key=lambda source: _bytes(source) > _GOLDEN_BYTES
    )
    kinds: list[_Golden] = []
    left_out: dict[str, str] = {}
    used, found = set(), _of_kinds(chosen[:_LOOKED_AT])
    for place, kind in enumerate(KINDS):
        if kind in found:
            used.add(found[kind])
            kinds.append(_portable(chosen[found[kind]], contract, kind))
            continue
        try:
            kinds.append(_made(kind, chosen[(_OWN + place) % len(chosen)], contract))
        except (OSError, KeyError, ValueError, BadImage) as error:  # of an encoder that Pillow lacks, too
            left_out[kind] = str(error) or type(error).__name__
    height, width = contract.input_size
    least = _OWN if height * width <= _LARGE_INPUT else 1
    own = max(images.count - len(kinds), LEAST_GOLDENS - len(kinds), least)
    rest = [source for place, source in enumerate(chosen) if place not in used] or chosen[:1]
    return [*(_portable(source, contract) for source in rest[:own]), *kinds], left_out


def _of_kinds(sources: Sequence[Path | Member]) -> dict[str, int]:
    """The place of the first image of each kind, of those that are small."""
    found: dict[str, int] = {}
    for place, source in enumerate(sources):
        if _bytes(source) > _GOLDEN_BYTES:
            break  # they come last
        if kind := kind_of(with_retries(str(source), source.read_bytes)):
            found.setdefault(kind, place)
    return found


def _made(kind: str, source: Path | Member, contract: Preprocess) -> _Golden:
    """Raises what Pillow raises where it cannot write the kind, and `BadImage` where the contract refuses it: it may
    ask for fewer pixels."""
    image = decode(with_retries(str(source), source.read_bytes), max_pixels=contract.max_pixels)
    suffix, content = KINDS[kind](image)
    contract.pixels(content)
    return _Golden(suffix, content, kind, True)


def _portable(source: Path | Member, contract: Preprocess, kind: str | None = None) -> _Golden:
    """The image as it is, or smaller and as a JPEG where a device might not read it: HEIC, or more pixels than Pillow
    allows unasked. The suffix is the format's: a user's own (`.png:large`) may be none that a bundle or the device's
    file system takes."""
    content = with_retries(str(source), source.read_bytes)
    if format_ := format_anywhere(content):
        return _Golden(_SUFFIXES.get(format_, f".{format_.lower()}"), content, kind)
    image = decode(content, max_pixels=contract.max_pixels)
    side = math.isqrt(int(min(pixel_limit(None), 1024**2)))
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return _Golden(".jpg", buffer.getvalue())


def _bytes(source: Path | Member) -> int:
    return source.size if isinstance(source, Member) else source.stat().st_size
