"""A folder of images to labelled, split samples; it must not decode an image or know a model.

Content hashes decide everything: the split does not change when files are renamed or moved within a class,
and an image can never be in two splits.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edge_tl.target.errors import BadInput
from edge_tl.target.files import sha256_file
from edge_tl.target.loader import class_folders, image_files
from edge_tl.target.machine import cores_allowed

SPLITS = ("train", "val", "test")
_FOLDER_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


@dataclass(frozen=True)
class Sample:
    """One image file: `path` relative to the data folder, `label` a class index, `digest` its SHA-256, `split`
    None until it is drawn."""

    path: str
    label: int
    digest: str
    split: str | None = None


@dataclass(frozen=True)
class Listing:
    """Every image file found, before any was decoded."""

    root: Path
    labels: list[str]
    samples: list[Sample]


@dataclass(frozen=True)
class Dataset:
    """The samples that take part, each in one split, and what was left out and why."""

    root: Path
    labels: list[str]
    samples: list[Sample]
    skipped: list[dict[str, str]] = field(default_factory=list)
    duplicates: list[dict[str, Any]] = field(default_factory=list)

    def split(self, name: str) -> list[Sample]:
        """The samples of "train", "val" or "test"."""
        return [sample for sample in self.samples if sample.split == name]

    def paths(self, samples: Sequence[Sample]) -> list[Path]:
        """Absolute paths of `samples`."""
        return [self.root / sample.path for sample in samples]

    def counts(self) -> dict[str, int]:
        """Images per split."""
        return {name: len(self.split(name)) for name in SPLITS}

    def to_json(self) -> dict[str, Any]:
        """What a run records; `from_json` reads it back."""
        return {
            "path": str(self.root),
            "n": self.counts(),
            "skipped": self.skipped,
            "duplicates": self.duplicates,
            "samples": [[s.split, s.label, s.digest, s.path] for s in self.samples],
        }

    @classmethod
    def from_json(cls, record: dict[str, Any], labels: list[str]) -> Dataset:
        """The dataset of a run's record."""
        samples = [Sample(path, label, digest, split) for split, label, digest, path in record["samples"]]
        return cls(Path(record["path"]), labels, samples, record["skipped"], record["duplicates"])


def scan(root: Path, progress: Callable[[int, int], None] = lambda done, total: None) -> Listing:
    """List and hash every image below `root`. Raises `BadInput` for a folder that is no classification data."""
    if not root.is_dir():
        raise BadInput(f"no such folder: {root}. Give a folder with one sub-folder of images per class.")
    found: list[tuple[Path, str, str | None]] = []
    parts = _split_folders(root)
    for split, folder in parts.items():
        for class_folder in class_folders(folder):
            files = image_files(class_folder)
            if not files:
                raise BadInput(
                    f"class {class_folder.name!r} is empty: {class_folder} holds no image. Add images."
                )
            found += [(path, class_folder.name, split or None) for path in files]
    for path, _, _ in found:
        try:
            str(path).encode()
        except UnicodeEncodeError:
            raise BadInput(f"file name is not UTF-8: {str(path)!r}. Rename the file or folder.") from None
    labels = sorted({label for _, label, _ in found})
    if len(labels) < 2:
        have = f"only {labels[0]!r}" if labels else "none"
        raise BadInput(
            f"a classifier needs two classes or more; {root} has {have}. Make one sub-folder per class."
        )
    for split in parts:
        here = sorted({label for _, label, s in found if s == (split or None)})
        if here != labels:
            raise BadInput(
                f"classes of {split}: {', '.join(here)}; of all splits: {', '.join(labels)}. "
                "Give every split the same classes."
            )
    _need_two(root, labels, [label for _, label, _ in found])
    with ThreadPoolExecutor(cores_allowed()) as pool:
        digests = []
        for digest in pool.map(sha256_file, (path for path, _, _ in found)):
            digests.append(digest)
            progress(len(digests), len(found))
    index = {label: i for i, label in enumerate(labels)}
    samples = [
        Sample(str(path.relative_to(root)), index[label], digest, split)
        for (path, label, split), digest in zip(found, digests, strict=True)
    ]
    return Listing(root, labels, samples)


def settle(
    listing: Listing, bad: dict[str, str], *, val: float, test: float, seed: int, on_bad_image: str = "skip"
) -> Dataset:
    """Leave out what cannot be used, then split what the folder has not split itself.

    `bad` maps the digest of an undecodable file to the reason. `val` and `test` are fractions of each class;
    where the folder has its own val (or test), only what is missing is drawn, from train. Raises `BadInput`
    when a class is left with fewer than two images, or when `on_bad_image` is "fail" and one is bad.
    """
    skipped = [{"path": s.path, "reason": bad[s.digest]} for s in listing.samples if s.digest in bad]
    if skipped and on_bad_image == "fail":
        raise BadInput(
            f"bad image: {listing.root / skipped[0]['path']}: {skipped[0]['reason']}. "
            f"{len(skipped)} in all; remove them, or use data.on_bad_image=skip."
        )
    good = [s for s in listing.samples if s.digest not in bad]
    good, duplicates = _without_duplicates(good)
    _need_two(listing.root, listing.labels, [listing.labels[s.label] for s in good])
    given = {s.split for s in listing.samples}
    if "val" not in given:
        shares = (
            {"val": val} if given >= {"test"} else {"val": val, "test": 0.0 if "train" in given else test}
        )
        good = _drawn(good, shares, seed, {d for group in duplicates for d in group["digests"]})
    dataset = Dataset(
        listing.root,
        listing.labels,
        good,
        skipped,
        [{k: v for k, v in group.items() if k != "digests"} for group in duplicates],
    )
    for split in ("train", "val"):
        present = {s.label for s in dataset.split(split)}
        if absent := [name for i, name in enumerate(listing.labels) if i not in present]:
            raise BadInput(f"class {absent[0]!r} has no usable image in {split}. Add images to it.")
    return dataset


def _split_folders(root: Path) -> dict[str, Path]:
    """`{"train": …, "val": …}` where the folder is split, else `{"": root}`."""
    found = {
        split: root / name
        for split, names in _FOLDER_NAMES.items()
        for name in names
        if (root / name).is_dir()
    }
    return found if "train" in found and len(found) > 1 else {"": root}


def _need_two(root: Path, labels: list[str], each: list[str]) -> None:
    for label in labels:
        if (count := each.count(label)) < 2:
            raise BadInput(
                f"class {label!r} has {count} usable image{'' if count == 1 else 's'} in {root}; "
                "it needs at least 2, one to learn from and one to check with. Add images."
            )


def _without_duplicates(samples: list[Sample]) -> tuple[list[Sample], list[dict[str, Any]]]:
    """One copy of every image, and a report of the others.

    The same content in two classes has no known label: no copy takes part. In two splits of the folder: the
    train copy stays. In one class and split: the first stays.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.digest].append(sample)
    kept, reports = [], []
    for digest, group in groups.items():
        if len(group) == 1:
            kept += group
            continue
        splits = {s.split for s in group}
        if len({s.label for s in group}) > 1:
            stays, reason = None, "the same image in two classes: left out"
        elif len(splits) > 1:
            stays = next((s for s in group if s.split == "train"), None)
            reason = "the same image in two splits: " + ("kept in train only" if stays else "left out")
        else:
            stays, reason = group[0], "the same image twice in one class: one copy kept"
        if stays:
            kept.append(stays)
        reports.append({"paths": [s.path for s in group], "reason": reason, "digests": [digest]})
    return kept, reports


def _drawn(samples: list[Sample], shares: dict[str, float], seed: int, only_train: set[str]) -> list[Sample]:
    """Stratified by class, in the order of a hash of seed and content; duplicated images stay in train."""

    def rank(sample: Sample) -> str:
        return hashlib.sha256(f"{seed}:{sample.digest}".encode()).hexdigest()

    result = [s for s in samples if s.split not in (None, "train")]
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split in (None, "train"):
            by_class[sample.label].append(sample)
    for group in by_class.values():
        queue = sorted((s for s in group if s.digest not in only_train), key=rank)
        train = [s for s in group if s.digest in only_train]
        for split, share in shares.items():
            # At least one to validate with and one to learn from, however small the class is.
            wanted = max(round(share * len(group)), 1 if split == "val" else 0)
            take = min(wanted, max(len(queue) + len(train) - 1, 0), len(queue))
            result += [replace(s, split=split) for s in queue[:take]]
            queue = queue[take:]
        result += [replace(s, split="train") for s in train + queue]
    return sorted(result, key=lambda s: s.path)
