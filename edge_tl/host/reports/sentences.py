"""What a bundle and a run came to, in sentences, without markup. Measures nothing."""

from __future__ import annotations

import re

from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.format import DASH, NOT_JUDGED, clock, number, one_line
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.host.reports.run_tables import bounds
from edge_tl.host.runs.record import RunRecord

NO_BETTER = "No epoch was better than the start, so the weights of the start were kept."
_NAMED = 6  # classes in a sentence


def recommendation(record: BundleRecord) -> str:
    """What to ship, in one sentence."""
    return one_line(record.recommendation or "No artifact is recommended: nothing was verified yet.")


def summary(record: BundleRecord) -> tuple[str, str]:
    """What to ship, in one sentence, and what else was said of it: conditions, files, what they need."""
    text = recommendation(record)
    end = re.search(r"(?<=[^.])\.\s+(?=[A-Z])", text)
    first, rest = (text[: end.start() + 1], text[end.end() :]) if end else (text, "")
    return first[:1].upper() + first[1:], rest


def measured_on(record: BundleRecord) -> str:
    """Which images the accuracies come from."""
    reference = record.reference
    text = f"Accuracy on {number(reference.n, 0)} images of {one_line(reference.split)}."
    sizes = ", ".join(
        f"{one_line(name)} {number(n, 0)}" for name, n in (record.provenance.sets or {}).items()
    )
    return f"{text} Set sizes: {sizes}." if sizes else text


def timed_on(record: BundleRecord) -> str | None:
    """How busy this machine was with other things while the artifacts were timed; None where the record does not
    say."""
    conditions = record.conditions
    if conditions is None:
        return None
    load, during = conditions.before.load1, conditions.during
    known = [f"load {number(load, 1)} before the first call"] if load is not None else []
    if during:
        known.append(f"other programs used {number(during.others, 1)} of {number(during.cores, 0)} cores")
        known.append(f"{number(during.stolen, 1)} cores were kept by a hypervisor")
    if wait := conditions.wait:
        known.append(f"after {clock(wait.waited_s)} of waiting for a quiet machine")
    if not known:
        return None
    busy = busy_reason(conditions, int(during.cores) if during else None)
    found = f" {busy[:1].upper()}{busy[1:]}: no speed is judged." if busy else ""
    return f"While the artifacts were timed: {', '.join(known)}.{found}"


def how_to_read(record: BundleRecord) -> list[str]:
    """The lines under the table of artifacts."""
    n = number(record.reference.n, 0)
    return [
        "Drop: PyTorch's accuracy minus the artifact's on the same images; positive is worse. In brackets, "
        f"its 95 % interval: where that includes 0, {n} images do not distinguish the two.",
        "Agreement: images with the same answer as PyTorch's, right or wrong.",
        "p50, p90, p99: half, 90 % and 99 % of the timed runs took no longer. Speed-up: times as fast as "
        f"PyTorch on the same machine, with its 95 % interval; {NOT_JUDGED} where the machine was busy or that is "
        "wide.",
        f"{DASH}: not measured, does not apply, or too few runs to support this percentile.",
    ]


def run_sentence(record: RunRecord) -> str:
    """What a fine-tuning run reached, with its interval and whether its images also chose."""
    metrics = record.metrics
    interval = f", 95 % interval {bounds(metrics.accuracy_ci)} %" if metrics.accuracy_ci else ""
    text = (
        f"{one_line(record.model)} ({one_line(record.strategy)}) is right on "
        f"{number(metrics.accuracy, 2, 100)} % of the {number(metrics.n, 0)} images of {metrics.split}{interval}; "
        f"macro F1 {number(metrics.macro_f1, 2, 100)} %."
    )
    if metrics.chosen_on_same_images:
        text += " These images also chose what was kept, so expect less on new ones."
    return text


def run_lines(record: RunRecord) -> list[str]:
    """What else to know of a run, a line each: its strategy, the epoch that was kept, the folds, classes and files."""
    lines = (
        strategy(record),
        kept_epoch(record),
        cross_validation(record),
        classes_without_images(record),
        other_files(record),
    )
    return [line for line in lines if line]


def strategy(record: RunRecord) -> str | None:
    """The strategy and why it was chosen; None where the record does not say why."""
    if not record.strategy_reason:
        return None
    return f"Strategy {one_line(record.strategy)}: {one_line(record.strategy_reason)}"


def kept_epoch(record: RunRecord) -> str | None:
    """Which epoch's weights the run holds and why; None where the record does not say."""
    if record.kept is None:
        return None
    reason = one_line(record.kept.reason)
    return f"{reason[:1].upper()}{reason[1:]}."


def cross_validation(record: RunRecord) -> str | None:
    """What the folds say; None where there was no cross-validation."""
    folds = record.folds
    if folds is None:
        return None
    each = ", ".join(number(value, 2, 100) for value in folds.accuracies)
    return (
        f"{number(folds.k, 0)}-fold cross-validation: accuracy {number(folds.mean, 2, 100)} %, standard deviation "
        f"{number(folds.std, 2, 100)} percentage points, 95 % interval of the mean {bounds(folds.interval)} %. Folds: "
        f"{each} %."
    )


def classes_without_images(record: RunRecord) -> str | None:
    """Which classes no image evaluates; None where every class has some."""
    rows = record.metrics.per_class
    absent = [one_line(row.label) for row in rows if row.n == 0]
    if not absent:
        return None
    more = f" and {len(absent) - _NAMED} more" if len(absent) > _NAMED else ""
    return (
        f"No image of {', '.join(absent[:_NAMED])}{more} was evaluated: the figures say nothing of "
        f"{'it' if len(absent) == 1 else 'them'}, and macro figures, over all {len(rows)} classes, count 0."
    )


def other_files(record: RunRecord) -> str | None:
    """How many files of the data are no images, by kind; None where there are none."""
    counts = ", ".join(f"{number(one.n, 0)} {one_line(one.kind)}" for one in record.data.not_images)
    return f"Files that are no images, passed over: {counts}." if counts else None
