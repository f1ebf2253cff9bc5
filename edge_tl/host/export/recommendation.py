"""What an export recommends, and the sentence that says so: at what cost, how fast, which files, where not.

Gates nothing: it chooses among the artifacts that passed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from edge_tl.device import metrics
from edge_tl.device.bench.machine_use import why_not_judged
from edge_tl.device.format import percentage
from edge_tl.device.records.artifact import ArtifactRecord, BudgetRecord
from edge_tl.device.records.bundle import ReferenceRecord

Interval = tuple[float, float]
AGAIN = "Export again when it is quiet, or with --wait-quiet 5m."


class Choice(NamedTuple):
    """The id of the artifact to ship, None for none of them, and the sentence that says why."""

    artifact: str | None
    sentence: str


def recommend(
    artifacts: Sequence[ArtifactRecord],
    fastest_fp32: str | None,
    busy: str | None = None,
) -> Choice:
    """The fastest artifact that passed its gates and keeps the budgets. INT8 that is not provably faster than the
    fastest FP32 artifact is never recommended: it costs answers and buys nothing. FP16 and 8-bit weights are, where a
    budget leaves no FP32. Where the machine was too `busy` to judge a speed, the smallest that shows no loss."""
    passed = [artifact for artifact in artifacts if artifact.passed]
    within = [artifact for artifact in passed if all(budget.kept for budget in artifact.budgets or ())]
    if not passed:
        return Choice(
            None, "ship none of these: no artifact passed its gates; see the failed gates for what differs."
        )
    if not within:
        least = "; ".join(_nearest_to(passed, i) for i in range(len(passed[0].budgets or ())))
        again = f" {busy[:1].upper()}{busy[1:]}. {AGAIN}" if busy else ""
        return Choice(
            None, f"ship none of these: no artifact that passed its gates keeps the budgets ({least}).{again}"
        )
    everywhere = [a for a in within if not a.requires]  # what some CPUs refuse is the last choice
    if busy:
        return _by_accuracy_and_size(everywhere or within, busy)
    # Without an FP32 artifact there is nothing that INT8 must be faster than.
    fast = [a for a in within if a.precision == "int8" and (fastest_fp32 is None or _least_ratio(a) > 1.0)]
    quick = [a for a in fast if a in everywhere] if everywhere else fast
    full = [a for a in within if a.precision == "fp32"]
    small = [a for a in within if a.precision not in ("fp32", "int8")]
    pool = quick or full or small
    if not pool:
        what = "keeps the budgets" if any(a.precision == "fp32" for a in passed) else "passed its gates"
        return Choice(
            None,
            f"ship none of these: only INT8 {what}, and it is not faster than {fastest_fp32} on this CPU.",
        )
    best = min(pool, key=lambda artifact: artifact.median_ms or math.inf)
    words = shipping(best, fastest_fp32)
    if not quick and fastest_fp32 is not None:
        words += _about_int8([a for a in artifacts if a not in fast], fastest_fp32)
    return Choice(best.id, f"{words}.{files(best)}{not_everywhere(best)}{_passed_over(fast, quick)}")


def _passed_over(fast: Sequence[ArtifactRecord], quick: Sequence[ArtifactRecord]) -> str:
    """What is fast and requires instructions, where something that runs anywhere is shipped; "" where nothing is."""
    rest = [each for each in fast if each not in quick]
    if not rest:
        return ""
    names = " and ".join(each.id for each in rest)
    needed = " or ".join(dict.fromkeys(word for each in rest for word in each.requires))
    return f" {names} gives right answers on CPUs with {needed} alone; name it there with --artifact."


def _by_accuracy_and_size(within: Sequence[ArtifactRecord], busy: str) -> Choice:
    """The smallest of the FP32 and INT8 artifacts whose interval does not show a loss; where all show one, the one that
    loses least. FP16 and 8-bit weights are for accelerators and for size: only where nothing else is left."""
    pool = [a for a in within if a.precision in ("fp32", "int8")] or list(within)
    lossless = [a for a in pool if a.drop_ci_pp is not None and a.drop_ci_pp[0] <= 0]
    if lossless:
        best = min(lossless, key=lambda artifact: artifact.size_mb)
        why = "the smallest that shows no loss of accuracy"
    else:
        best = min(pool, key=lambda artifact: artifact.drop_pp or 0.0)
        why = "the one that loses least accuracy"
    parts = [change(best.drop_pp, best.drop_ci_pp), *(_kept(budget) for budget in best.budgets or ())]
    parts += [f"{best.size_mb:.2f} MB, {why}"]
    words = f"ship {best.id}: {', '.join(part for part in parts if part)}. Speed not judged: {busy}; this rests on "
    words += f"accuracy and size alone. {AGAIN}{files(best)}{not_everywhere(best)}"
    return Choice(best.id, words)


def _about_int8(artifacts: Sequence[ArtifactRecord], fastest_fp32: str) -> str:
    """Why no INT8 artifact is shipped; "" where there is none."""
    int8 = [artifact for artifact in artifacts if artifact.precision == "int8"]
    if not int8:
        return ""
    seen = "; ".join(f"{artifact.id} {_why_not(artifact, fastest_fp32)}" for artifact in int8)
    return f". INT8 is not worth its answers on this CPU: {seen}"


def _least_ratio(artifact: ArtifactRecord) -> float:
    """The low end of how many times faster than FP32 it is; 0 where that is not proven."""
    interval = artifact.faster_than_fp32_ci
    return 0.0 if interval is None or why_not_judged(interval, None) else interval[0]


def _why_not(artifact: ArtifactRecord, fastest_fp32: str) -> str:
    ratio, interval = artifact.faster_than_fp32 or 0.0, artifact.faster_than_fp32_ci
    why = artifact.not_judged or why_not_judged(interval, None) or "it was not timed"
    judged = interval is not None and not why_not_judged(interval, None)
    shown = f"{ratio:.2f}x [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
    if not artifact.passed:
        return f"failed its gates ({shown} {fastest_fp32}'s speed)" if judged else "failed its gates"
    if over := [budget for budget in artifact.budgets or () if not budget.kept]:
        return f"is over the budget of {over[0].limit:g} {over[0].unit}"
    if not judged or interval is None:
        return f"is not provably faster than {fastest_fp32}: {why}"
    if interval[0] <= 1.0 <= interval[1]:
        return f"is not distinguishable from {fastest_fp32} in speed ({shown})"
    return f"runs at {shown} {fastest_fp32}'s speed"


def _nearest_to(passed: Sequence[ArtifactRecord], index: int) -> str:
    """How near the best artifact comes to a budget."""
    budgets = [((artifact.budgets or ())[index], artifact.id) for artifact in passed]
    rows = [(budget.measured, budget, name) for budget, name in budgets if budget.measured is not None]
    if not rows:
        return f"{budgets[0][0].budget} was not measured: too few calls, export with --thorough"
    measured, best, name = min(rows, key=lambda row: row[0])
    return f"{best.budget}: at best {measured:.3g} {best.unit}, {name}; budget {best.limit:g}"


def shipping(best: ArtifactRecord, fastest_fp32: str | None) -> str:
    """ "ship openvino-int8: accuracy drop 0.14 pp [-1.02, 1.29], 10.6x [9.9, 11.4] PyTorch's speed", and how it keeps
    its budgets; of INT8 also how it compares with the fastest FP32 artifact."""
    parts = [change(best.drop_pp, best.drop_ci_pp)]
    parts.append(speed(best.speedup, best.speedup_ci, "PyTorch's speed") or _not_judged(best))
    parts += [_kept(budget) for budget in best.budgets or ()]
    if best.precision == "int8" and fastest_fp32 is not None:
        against = f"the fastest FP32 artifact ({fastest_fp32})"
        parts.append(speed(best.faster_than_fp32, best.faster_than_fp32_ci, against))
    return f"ship {best.id}: {', '.join(part for part in parts if part)}"


def change(drop: float | None, interval: Interval | None) -> str:
    """The accuracy against PyTorch's: "accuracy drop 0.14 pp [-1.02, 1.29]", or that nothing was lost."""
    if drop is None or interval is None:
        return ""
    low, high = interval
    if round(drop, 2) > 0:
        return f"accuracy drop {drop:.2f} pp [{low:.2f}, {high:.2f}]"
    if round(drop, 2) == 0:
        return f"no loss of accuracy seen (drop 0.00 pp [{low:.2f}, {high:.2f}])"
    return f"no loss of accuracy seen: {-drop:.2f} points better than PyTorch [{-high:.2f}, {-low:.2f}]"


def speed(ratio: float | None, interval: Interval | None, of_what: str) -> str:
    """ "2.4x [2.2, 2.6] PyTorch's speed"; "" where it was not timed or not judged, or has no interval that says much: a
    speed in a sentence never stands alone."""
    if ratio is None or interval is None or why_not_judged(interval, None):
        return ""
    return f"{ratio:.1f}x [{interval[0]:.1f}, {interval[1]:.1f}] {of_what}"


def _not_judged(artifact: ArtifactRecord) -> str:
    why = artifact.not_judged or why_not_judged(artifact.speedup_ci, None)
    return f"speed not judged: {why}" if why else ""


def files(artifact: ArtifactRecord) -> str:
    """What of the bundle an application opens, and which runtime opens it."""
    names = " + ".join(PurePosixPath(file.path).name for file in artifact.files)
    who = "Its files: {}; they need" if len(artifact.files) > 1 else "Its file: {}; it needs"
    runtime, extra = artifact.runtime, artifact.family.extra
    options = ", ".join(f"{key}={value}" for key, value in (artifact.session_options or {}).items())
    said = (
        f" Without edge-tl, open it with the session option {options} on x86 without VNNI." if options else ""
    )
    return f" {who.format(names)} {runtime}, which the extra [{extra}] of edge-tl installs.{said}"


def not_everywhere(artifact: ArtifactRecord) -> str:
    """The lesser instruction sets on which the drop was over the budget, or could not be measured; "" where there are
    none."""
    if artifact.requires:
        return f" Only on CPUs with {' or '.join(artifact.requires)}: edge-tl refuses it on others, where sums are cut."
    limit = artifact.limits.max_drop_pp
    rows = [row for row in artifact.proven_on or () if row.cap]
    over = [f"{row.isa} (drop {row.drop_pp:.2f} pp)" for row in rows if (row.drop_pp or 0.0) > limit]
    words = ""
    if over:
        words = (
            f" Not on CPUs that compute INT8 with {' or '.join(over)}: over the budget of {limit:g} pp there; "
            "for those export with --target-cpu any, or ship FP32."
        )
    if unproven := [row.isa or "another instruction set" for row in rows if row.fault is not None]:
        words += f" Not on CPUs that compute INT8 with {' or '.join(unproven)} either: it did not run there."
    return words if over else words.replace(" either:", ":")


def learned_nothing(reference: ReferenceRecord, labels: Sequence[str]) -> str:
    """That PyTorch itself is not shown to be better than one answer for every image; "" where it is: an artifact that
    loses nothing of nothing is worth nothing."""
    if reference.confusion is None or reference.accuracy is None or not reference.n:
        return ""
    images = metrics.images_of_classes(reference.confusion)
    most = max(images)
    low, _ = metrics.wilson_interval(round(reference.accuracy * reference.n), reference.n)
    if low > most / reference.n:
        return ""
    return (
        f" But PyTorch itself is right on {percentage(reference.accuracy)} of {reference.n} images, not shown to be "
        f"better than answering {labels[images.index(most)]!r} always ({percentage(most / reference.n)}): train "
        "longer, from pretrained weights or with more images."
    )


def _kept(budget: BudgetRecord) -> str:
    unit, measured = budget.unit, budget.measured or 0.0
    return f"{budget.budget} {measured:.3g} {unit} of at most {budget.limit:g} {unit}"
