"""Results of several machines and dates side by side, and the gate for CI. Reads no file and measures nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.bench.ratio import LEAST_ROUNDS, unpaired
from edge_tl.device.bench.results import (
    BACK_TO_BACK,
    Measurement,
    machine_slug,
    measurements,
    same_machine,
)
from edge_tl.device.errors import BadInput
from edge_tl.device.records.bench import BenchResult, SpeedupRecord
from edge_tl.device.records.bench_comparison import (
    ComparedFile,
    ComparedRow,
    MissingMeasurement,
    ResultsComparison,
    SlowdownGate,
)


@dataclass(frozen=True)
class _Named:
    """A result, the file it is from, and its measurements."""

    file: str
    result: BenchResult
    number: int
    held: list[Measurement]


def compare_results(
    results: Sequence[tuple[str, BenchResult]], *, fail_if_slower: float | None = None
) -> ResultsComparison:
    """Named results side by side; the first is the base.

    A row is a measurement of an artifact (back to back, at a rate, beside load, …) in a file, with how many times
    slower it is than in the base, from the rounds of both. `missing` are the base's measurements that another file of
    its machine lacks.

    `fail_if_slower` (a fraction) is a gate on rows of the base's machine: it fails where the LOWER end of the interval
    exceeds `1 + fail_if_slower`. So it fails when a slow-down beyond the limit is proven, not when one cannot be ruled
    out: a gate that fails on noise is soon switched off. Where it can say nothing it has a gate that says why, for a
    regression may hide there; beside a busy machine it has only those, and passes. Raises `BadInput` where it can say
    nothing at all for another reason.
    """
    named = [
        _Named(file, result, number, measurements(result)) for number, (file, result) in enumerate(results)
    ]
    base = named[0]
    rows = tuple(row for one in named for row in _rows(one, base))
    missing = tuple(
        gap
        for one in named
        if same_machine(one.result.machine, base.result.machine)
        for gap in _missing(one, base.held)
    )
    gates = () if fail_if_slower is None else _gates(rows, missing, fail_if_slower)
    return ResultsComparison(
        base=base.file,
        files=tuple(_file(one) for one in named),
        rows=rows,
        missing=missing,
        not_compared=tuple(
            f"steps, cold start and memory in {one.file}"
            for one in named
            if any(row.parts is not None for row in one.result.artifacts)
        ),
        limit=fail_if_slower,
        gates=gates,
        passed=all(gate.passed for gate in gates),
    )


def percent(text: str) -> float:
    """0.05 for "5%" or "5". Raises `BadInput`."""
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value < 100:
        raise BadInput(f"--fail-if-slower {text}: give a percentage, e.g. 5%.")
    return value


def in_words(artifact: str, how: str) -> str:
    """A measurement in words; back to back goes without saying."""
    return artifact if how == BACK_TO_BACK else f"{artifact}, {how},"


def _file(one: _Named) -> ComparedFile:
    conditions = one.result.conditions
    return ComparedFile(
        file=one.file,
        date=one.result.date,
        machine=machine_slug(one.result.machine),
        kind=one.result.kind,
        load1=conditions.before.load1 if conditions else None,
    )


def _rows(one: _Named, base: _Named) -> list[ComparedRow]:
    known = {held.id: held for held in base.held}
    rows = []
    for mine in one.held:
        was = known.get(mine.id)
        other = was if one is not base else None
        busy = _busy(base, one) if other else None
        ratio = unpaired(mine.rounds, other.rounds) if other and not busy else SpeedupRecord()
        differs = _differs(other, mine) if other else []
        rows.append(
            ComparedRow(
                artifact=mine.artifact,
                figure=mine.key,
                how=mine.how,
                file=one.file,
                number=one.number,
                is_base=one is base,
                in_base=was is not None,
                latency_ms=mine.latency_ms,
                images_per_s=mine.images_per_s,
                ran=mine.ran,
                same_machine=same_machine(one.result.machine, base.result.machine),
                alike=not differs,
                changed=(*differs, *(_changed(one, mine, base, other) if other else [])),
                slowdown=ratio.speedup,
                slowdown_ci=ratio.speedup_ci,
                distinguishable=ratio.distinguishable,
                not_judged=busy,
            )
        )
    return rows


def _busy(base: _Named, one: _Named) -> str | None:
    """Why nothing is said of two results: other programs ran beside one of them."""
    for named in (base, one):
        if why := busy_reason(named.result.conditions, named.result.machine.cores_allowed):
            return f"in {named.file} {why}"
    return None


def _differs(was: Measurement, mine: Measurement) -> list[str]:
    """What the two were measured under, where that differs, in words."""
    before, now = asdict(was.under), asdict(mine.under)
    return [f"{key} {_word(before[key])} -> {_word(now[key])}" for key in now if before[key] != now[key]]


def _word(value: str | float | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _changed(one: _Named, mine: Measurement, base: _Named, was: Measurement) -> list[str]:
    """What else than time and the circumstances differs from the base, in words."""
    lines = []
    hashes = [(each.result.bundle or {}).get(mine.artifact) for each in (base, one)]
    if None not in hashes and hashes[0] != hashes[1]:
        lines.append("another model file")
    for key in ("runtime", "device", "precision", "threads", "streams"):
        before, now = getattr(was.ran, key, None), getattr(mine.ran, key, None)
        if before != now:
            lines.append(f"{key} {before} -> {now}")
    batches = base.result.method.batch, one.result.method.batch
    if batches[0] != batches[1]:
        lines.append(f"batch {batches[0]} -> {batches[1]}")
    return lines


def _missing(one: _Named, base: Sequence[Measurement]) -> list[MissingMeasurement]:
    """The base's artifacts that are not in a file; of those that are, the measurements that are not."""
    ids, artifacts = {held.id for held in one.held}, {held.artifact for held in one.held}
    gone = dict.fromkeys(held.artifact for held in base if held.artifact not in artifacts)
    gaps: list[tuple[str, str | None, str]] = [(name, None, name) for name in gone]
    gaps += [
        (held.artifact, held.key, in_words(held.artifact, held.how))
        for held in base
        if held.artifact in artifacts and held.id not in ids
    ]
    return [
        MissingMeasurement(
            artifact=artifact,
            figure=key,
            reason=f"{words} is not in {one.file}",
            file=one.file,
            number=one.number,
        )
        for artifact, key, words in gaps
    ]


def _gates(
    rows: Sequence[ComparedRow], missing: Sequence[MissingMeasurement], limit: float
) -> tuple[SlowdownGate, ...]:
    gates = [_gate(row, limit) for row in rows if not row.is_base]
    gates += [
        SlowdownGate(
            artifact=gap.artifact,
            figure=gap.figure,
            file=gap.file,
            limit=limit,
            judged=False,
            # An artifact that is gone may be as slow as it likes: that is no pass.
            passed=gap.figure is not None,
            reason=gap.reason,
        )
        for gap in missing
    ]
    if not any(gate.judged for gate in gates) and not any(row.not_judged for row in rows):
        why = gates[0].reason if gates else "only one result was given"
        raise BadInput(f"--fail-if-slower: nothing could be compared: {why}.")
    return tuple(gates)


def _gate(row: ComparedRow, limit: float) -> SlowdownGate:
    why = _undecided(row)
    judged = row.slowdown is not None and row.slowdown_ci is not None and why is None
    passed, reason = _outcome(row, limit) if judged else (True, why or "")
    return SlowdownGate(
        artifact=row.artifact,
        figure=row.figure,
        file=row.file,
        limit=limit,
        judged=judged,
        passed=passed,
        reason=reason,
    )


def _undecided(row: ComparedRow) -> str | None:
    """Why the gate says nothing about a row; None where it does."""
    name = in_words(row.artifact, row.how)
    if not row.in_base:
        return f"{name} is not in the base"
    if not row.same_machine:
        return f"{name} in {row.file} was timed on another machine"
    if not row.alike:
        return f"{name} in {row.file} was timed otherwise: {', '.join(row.changed)}"
    if row.not_judged:
        return f"{name}: {row.not_judged}"
    if row.slowdown_ci is None:
        return f"{name} has fewer than {LEAST_ROUNDS} rounds in one of the results"
    return None


def _outcome(row: ComparedRow, limit: float) -> tuple[bool, str]:
    """Whether it passes, and why in words."""
    assert row.slowdown is not None
    assert row.slowdown_ci is not None
    low, high = (100 * (end - 1) for end in row.slowdown_ci)
    passed = row.slowdown_ci[0] <= 1 + limit
    name, middle = in_words(row.artifact, row.how), 100 * (row.slowdown - 1)
    words = f"{name} in {row.file} takes {middle:+.1f} % time [{low:+.1f}, {high:+.1f}]"
    if passed:
        words += f": {'within' if row.slowdown_ci[1] <= 1 + limit else 'not proven beyond'} {100 * limit:g} %"
    else:
        words += f": beyond {100 * limit:g} % even at the lower end"
    return passed, words
