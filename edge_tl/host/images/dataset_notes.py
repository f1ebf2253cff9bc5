"""What a person reads of the images: which are left out and why, counted by kind. Decides nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from edge_tl.device.images.decode_warnings import mixed_ranges, warning_lines
from edge_tl.device.listener import Listener
from edge_tl.device.records.image_files import FileKind
from edge_tl.device.text import printable
from edge_tl.host.images.dataset import Dataset

SHOWN = 20  # files of one reason that are named one by one; the record has them all


def note_dataset(dataset: Dataset, remarks: Mapping[str, str], listener: Listener) -> None:
    """One line for each file left out, up to 20 a reason, and one with the counts; and one for each kind of `remarks`,
    which are by digest what had to be assumed to read an image, and one where that differs within the set."""

    def say(line: str) -> None:
        listener.note(printable(line))  # names of files and groups are whatever somebody called them

    for sentence in warning_lines(
        (s.path, remarks[s.digest]) for s in dataset.samples if s.digest in remarks
    ):
        say(f"warning: {sentence}")
    if sentence_of_all := mixed_ranges(remarks.get(s.digest) for s in dataset.samples):
        say(f"warning: {sentence_of_all}")
    by_reason: dict[str, list[str]] = defaultdict(list)
    for entry in dataset.skipped:
        by_reason[entry.reason].append(entry.path)
    for reason, paths in by_reason.items():
        for path in paths[:SHOWN]:
            say(f"left out: {path}: {reason}")
        if len(paths) > SHOWN:
            say(f"left out: {len(paths) - SHOWN:,} more: {reason}; run.json names them")
    if len(dataset.skipped) > 1:
        counts = "; ".join(f"{len(paths):,} {reason}" for reason, paths in by_reason.items())
        say(f"left out {len(dataset.skipped):,} in all: {counts}")
    if line := not_images_line(dataset.not_images):
        say(line)
    for copies in dataset.duplicates[:SHOWN]:
        say(f"duplicate: {' = '.join(copies.paths)}: {copies.reason}")
    if len(dataset.duplicates) > SHOWN:
        say(f"duplicate: {len(dataset.duplicates) - SHOWN:,} more; run.json names them")
    for leak in dataset.leaks:
        say(f"group {leak.group!r} is in {' and '.join(leak.splits)} ({leak.n} images): figures flatter")
    if line := untested_classes_warning(dataset):
        say(line)


def not_images_line(found: Iterable[FileKind]) -> str | None:
    """ "no images, passed over: 3 .txt, 1 Thumbs.db"; None where there are none."""
    counts = ", ".join(f"{entry.n:,} {entry.kind}" for entry in found)
    return f"no images, passed over: {counts}" if counts else None


def untested_classes_warning(dataset: Dataset) -> str | None:
    """Which classes no test image judges, where others have some; None where all have."""
    test = {sample.label for sample in dataset.split("test")}
    absent = [label for i, label in enumerate(dataset.labels) if i not in test]
    if not test or not absent:
        return None
    more = f" and {len(absent) - 6} more" if len(absent) > 6 else ""
    it = "it" if len(absent) == 1 else "them"
    return (
        f"warning: no test image of {', '.join(absent[:6])}{more}, too few to share: figures on test say nothing of "
        f"{it}, and macro F1, over all {len(dataset.labels)} classes, counts {it} as 0"
    )
