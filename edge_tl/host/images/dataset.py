"""Labelled, split samples from a listing. Reads no file and knows no model.

Content hashes decide everything: the split does not change when files are renamed or moved within a class,
and an image can never be in two splits. Images of one group (a scene, a patient) are drawn together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edge_tl.device.errors import BadInput
from edge_tl.device.records.image_files import FileKind, SkippedFile
from edge_tl.host.images import split as splits
from edge_tl.host.images.findings import Duplicates, Leak, SplitName
from edge_tl.host.images.shards import SUFFIX, Member
from edge_tl.host.recipe.schema import Data
from edge_tl.host.seeded import seeded_order

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image: `path` relative to the data's folder, `label` a class index, `digest` the SHA-256 of the encoded
    image, `split` None until it is drawn, `group` what must stay in one split with it.

    In a shard, `path` is the shard's, "!", and the name in it, and `member` is (offset, size) in bytes.
    """

    path: str
    label: int
    digest: str
    split: str | None = None
    group: str | None = None
    member: tuple[int, int] | None = None

    def relabelled(self, label: int) -> Sample:
        """The same image under another class index."""
        return replace(self, label=label)

    @property
    def unit(self) -> str:
        """What is drawn as one: the group, or the image itself."""
        return self.group or self.digest


@dataclass(frozen=True)
class Listing:
    """Every image found, before any was decoded.

    Not used are `skipped` files, which lie in a class, those `beside` the classes, and `not_images`.
    """

    root: Path
    labels: list[str]
    samples: list[Sample]
    skipped: list[SkippedFile] = field(default_factory=list)
    beside: list[SkippedFile] = field(default_factory=list)
    not_images: list[FileKind] = field(default_factory=list)

    def sources(self) -> list[Path | Member]:
        """Where the encoded image of each sample is."""
        return sources(self.root, self.samples)


@dataclass(frozen=True)
class Dataset:
    """The samples that take part, each in one split, and what was left out and why.

    `leaks` are groups with images in several of the data's own splits.
    """

    root: Path
    labels: list[str]
    samples: list[Sample]
    skipped: list[SkippedFile] = field(default_factory=list)
    duplicates: list[Duplicates] = field(default_factory=list)
    leaks: list[Leak] = field(default_factory=list)
    not_images: list[FileKind] = field(default_factory=list)

    def split(self, name: str) -> list[Sample]:
        """The samples of "train", "val" or "test"."""
        return [sample for sample in self.samples if sample.split == name]

    def sources(self, samples: Sequence[Sample]) -> list[Path | Member]:
        """Where the encoded images of `samples` are: both have `read_bytes()`, `name` and `suffix`."""
        return sources(self.root, samples)

    def counts(self) -> dict[str, int]:
        """Images per split."""
        return {name: len(self.split(name)) for name in SPLITS}


def sources(root: Path, samples: Iterable[Sample]) -> list[Path | Member]:
    """Where the encoded images of `samples` are, `root` being the folder that their paths are relative to."""
    found: list[Path | Member] = []
    for sample in samples:
        if sample.member is None:
            found.append(root / sample.path)
        else:
            shard, _, name = sample.path.partition(f"{SUFFIX}!")
            found.append(Member(root / f"{shard}{SUFFIX}", *sample.member, name))
    return found


def build_dataset(listing: Listing, bad: dict[str, str], data: Data, *, seed: int) -> Dataset:
    """Leave out what cannot be used, then split what the data has not split itself.

    `bad` maps the digest of an undecodable image to the reason. `data.val` and `data.test` are fractions of each class;
    where the data has its own val (or test), only what is missing is drawn, from train. Whole groups are drawn, so
    a fraction is met within the size of one. `limit` is the most training images a class that are kept. Raises
    `BadInput` when a class is left with fewer than two images or lies in one group, or when `on_bad_image` is
    "fail" and one is bad.
    """
    skipped = [
        *listing.skipped,
        *(SkippedFile(s.path, bad[s.digest]) for s in listing.samples if s.digest in bad),
    ]
    if skipped and data.on_bad_image == "fail":
        raise BadInput(
            f"bad image: {listing.root / skipped[0].path}: {skipped[0].reason}. "
            f"{len(skipped)} in all; remove them, or use data.on_bad_image=skip."
        )
    good = [s for s in listing.samples if s.digest not in bad]
    good, duplicates, pinned = _without_duplicates(good)
    left = Counter(s.label for s in good)
    for label, name in enumerate(listing.labels):
        if left[label] < 2:
            raise BadInput(_too_few(listing, label, name, left[label], bad))
    held = {s.split for s in listing.samples} & {"val", "test"}
    if "val" in held:
        good = [s if s.split else replace(s, split="train") for s in good]
    else:
        shares = {"val": data.val} if held else {"val": data.val, "test": data.test}
        good = _drawn(good, shares, seed, pinned, listing.labels)
    if data.limit is not None:
        good = _limited(good, data.limit, seed)
    skipped += listing.beside
    dataset = Dataset(
        listing.root, listing.labels, good, skipped, duplicates, _leaks(good), listing.not_images
    )
    for split in ("train", "val"):
        present = {s.label for s in dataset.split(split)}
        if absent := [name for i, name in enumerate(listing.labels) if i not in present]:
            raise BadInput(f"class {absent[0]!r} has no usable image in {split}. Add images to it.")
    return dataset


def folds(dataset: Dataset, k: int, seed: int) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """`k` times (training samples, validation samples) of everything but test, stratified, whole groups together;
    each sample validates once. The samples' `split` says which they are.

    scikit-learn's StratifiedKFold, or StratifiedGroupKFold where there are groups, on samples in the order of their
    digests, so that names do not matter. Raises `BadInput` when a class has fewer than `k` images or groups.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold  # slow to import

    pool = sorted((s for s in dataset.samples if s.split != "test"), key=lambda s: s.digest)
    grouped = any(s.group for s in pool)
    units: dict[int, set[str]] = defaultdict(set)
    for sample in pool:
        units[sample.label].add(sample.unit)
    for label, name in enumerate(dataset.labels):
        if (have := len(units[label])) < k:
            raise BadInput(
                f"class {name!r} has {have} {'groups' if grouped else 'images'} outside test; {k} folds need {k}. "
                "Add images, or use fewer folds: data.folds."
            )
    number = {unit: i for i, unit in enumerate(dict.fromkeys(s.unit for s in pool))}
    splitter = (StratifiedGroupKFold if grouped else StratifiedKFold)(k, shuffle=True, random_state=seed)
    y, groups = [s.label for s in pool], [number[s.unit] for s in pool]
    for train, val in splitter.split(y, y, groups if grouped else None):
        yield (
            [replace(pool[i], split="train") for i in train],
            [replace(pool[i], split="val") for i in val],
        )


def check_two_images_a_class(where: Path | str, labels: list[str], each: Iterable[str]) -> None:
    """Raises `BadInput` when one of `labels` is fewer than two times in `each`, the label of every image."""
    counts = Counter(each)
    for label in labels:
        if (count := counts[label]) < 2:
            raise BadInput(
                f"class {label!r} has {count} usable image{'' if count == 1 else 's'} in {where}; "
                "it needs at least 2, one to learn from and one to check with. Add images."
            )


def _too_few(listing: Listing, label: int, name: str, left: int, bad: dict[str, str]) -> str:
    """Why a class that had two images is left with fewer."""
    elsewhere = {s.digest for s in listing.samples if s.label != label}
    own = [s for s in listing.samples if s.label == label]
    whole = [s for s in own if s.digest not in bad]
    both = sum(s.digest in elsewhere for s in whole)
    of_these = [(len(own) - len(whole), next((bad[s.digest] for s in own if s.digest in bad), ""))]
    of_these += [(both, "the same image in two classes: left out")]
    of_these += [(len(whole) - both - left, "the same image again")]
    why = ", ".join(f"{n} {reason}" for n, reason in of_these if n)
    advice = "Remove them from the class that they are not of" if both else "Add other images"
    return (
        f"class {name!r} has {left} usable image{'' if left == 1 else 's'} in {listing.root}, of {len(own)} "
        f"({why or 'in all'}); it needs at least 2, one to learn from and one to check with. {advice}."
    )


def _without_duplicates(samples: list[Sample]) -> tuple[list[Sample], list[Duplicates], set[str]]:
    """One copy of every image, a report of the others, and the units that must stay in train.

    The same content in two classes has no known label: no copy takes part. In two splits of the data: the
    train copy stays. In one class and split: the first stays. Units that share an image stay in train together;
    copies within one group go where it goes.
    """
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[sample.digest].append(sample)
    kept, reports, pinned = [], [], set()
    for group in groups.values():
        if len(group) == 1:
            kept += group
            continue
        splits = {s.split for s in group}
        stays: Sample | None
        if len({s.label for s in group}) > 1:
            stays, reason = None, "the same image in two classes: left out"
        elif len(splits) > 1:
            stays = next((s for s in group if s.split == "train"), None)
            reason = "the same image in two splits: " + ("kept in train only" if stays else "left out")
        else:
            stays, reason = group[0], "the same image twice in one class: one copy kept"
        if stays:
            kept.append(stays)
            if len(units := {s.unit for s in group}) > 1 or not stays.group:
                pinned |= units
        reports.append(Duplicates(tuple(s.path for s in group), reason))
    return kept, reports, pinned


def _drawn(
    samples: list[Sample], shares: dict[str, float], seed: int, pinned: set[str], labels: list[str]
) -> list[Sample]:
    """Everything that is not yet in val or test placed in train or one of `shares`, sorted by path."""
    units: dict[str, Counter[int]] = defaultdict(Counter)
    of_class: dict[int, set[str]] = defaultdict(set)
    for s in samples:
        if s.split in (None, "train"):
            units[s.unit][s.label] += 1
            of_class[s.label].add(s.unit)
    for s in samples:
        if s.group and s.split in (None, "train") and len(of_class[s.label]) == 1:
            raise BadInput(
                f"every image of class {labels[s.label]!r} is in one group, {s.group!r}, and cannot both teach and "
                "validate. Change data.group_by, or add images of another group."
            )
    sizes = {unit: tuple(counts.items()) for unit, counts in units.items()}
    place = splits.assign_splits(sizes, shares, seed=seed, pinned=pinned)
    result = [
        replace(s, split=place.get(s.unit, "train")) if s.split in (None, "train") else s for s in samples
    ]
    return sorted(result, key=lambda s: s.path)


def _limited(samples: list[Sample], limit: int, seed: int) -> list[Sample]:
    """At most `limit` training images a class; a smaller limit keeps some of those that a larger one keeps."""
    by_class: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.split == "train":
            by_class[sample.label].append(sample)
    kept = {
        s.digest
        for group in by_class.values()
        for s in seeded_order(group, seed, name=lambda s: s.digest)[:limit]
    }
    return [s for s in samples if s.split != "train" or s.digest in kept]


def _leaks(samples: list[Sample]) -> list[Leak]:
    spread: dict[str, Counter[str]] = defaultdict(Counter)
    for s in samples:
        if s.group and s.split:
            spread[s.group][s.split] += 1
    return [
        Leak(group, tuple(name for name in SPLITS if counts[name]), counts.total())
        for group, counts in spread.items()
        if len(counts) > 1
    ]
