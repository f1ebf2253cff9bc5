"""What `tune` picked as people read it. Computes nothing: every number comes from the record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from edge_tl.cli._console import milliseconds
from edge_tl.cli._latency_text import UNKNOWN, p50_with_interval, ratio
from edge_tl.cli._table import grid
from edge_tl.device.format import DASH, number
from edge_tl.device.records.tuned import AlternativeRecord, TunedRecord

_BY = {"latency": "", "throughput": " by images a second", "memory": " by memory"}


def remarks(result: TunedRecord) -> Iterator[str]:
    """What is said on stderr before the result."""
    for warning in result.warnings:
        yield f"warning: {warning}"
    for entry in result.skipped:
        yield f"skipped {entry.artifact}: {entry.reason}"


def result_text(result: TunedRecord) -> str:
    """The table of what was timed, the pick first; the pick in a sentence, and where it is written."""
    parts = [_table(result)] if result.artifact or result.over else []
    parts.append("\n".join(_conclusion(result)))
    return "\n\n".join(parts)


def picked(result: TunedRecord) -> str:
    """ "onnx-int8 on CPU, 2 threads"; a dash where nothing was."""
    if result.artifact is None:
        return DASH
    return f"{result.artifact} on {result.device}{_threads(result.threads)}"


def row(result: TunedRecord) -> list[str]:
    """The cells of the table that compares devices, without the device's name."""
    remarks = [figure(result)] if result.artifact else [_nothing(result)]
    remarks += [f"not judged: {result.not_judged}"] if result.not_judged else []
    ms = result.latency_ms
    p50, p95 = (p50_with_interval(ms), milliseconds(ms.p95)) if ms else (DASH, DASH)
    other = result.over[0] if result.artifact and result.over else None
    before = (
        f"{other.artifact}{_threads(other.threads)}: {ratio(other.ratio, other.ratio_ci)}" if other else DASH
    )
    return [picked(result), p50, p95, before, "; ".join(filter(None, remarks))]


def figure(result: TunedRecord | AlternativeRecord) -> str:
    """Its number by the objective, where that is not the latency."""
    if result.images_per_s is not None:
        return f"{number(result.images_per_s, 0)} images/s"
    return "" if result.memory_mb is None else f"{number(result.memory_mb, 0)} MiB"


def next_command(result: TunedRecord, bundle: Path) -> str:
    """What to type next."""
    shown = quote(str(bundle))
    if result.artifact is None and not result.over:
        return f"next: edge-tl verify {shown}, for what each gate says"
    if result.artifact is None:
        return f"next: edge-tl bench {shown}, for every artifact's latency"
    return f"next: edge-tl predict {shown} IMAGE"


def _table(result: TunedRecord) -> str:
    rows = []
    if result.artifact is not None and result.latency_ms is not None:
        cells = [
            result.artifact,
            str(result.device),
            str(result.threads),
            p50_with_interval(result.latency_ms),
        ]
        rows.append([*cells, milliseconds(result.latency_ms.p95), figure(result), "1", "the pick"])
    for other in result.over:
        cells = [other.artifact, other.device, str(other.threads), p50_with_interval(other.latency_ms)]
        compared = ratio(other.ratio, other.ratio_ci)
        rows.append([*cells, milliseconds(other.latency_ms.p95), figure(other), compared, other.reason])
    headings = ["artifact", "device", "threads", "p50 ms [95 %]", "p95 ms", result.objective, "x pick", "why"]
    if result.objective == "latency":
        rows, headings = [[*row[:5], *row[6:]] for row in rows], [*headings[:5], *headings[6:]]
    return grid(headings, rows, left=len(headings), names=3)


def _conclusion(result: TunedRecord) -> Iterator[str]:
    ends = [result.latency_ms, *(other.latency_ms for other in result.over)]
    if any(ms is not None and ms.p50_ci == (None, None) for ms in ends):
        yield f"{UNKNOWN}: the rounds differ too much for an interval"
    if result.artifact is None:
        yield _nothing(result)
        return
    assert result.latency_ms is not None
    shown = figure(result)
    yield (
        f"pick{_BY[result.objective]}: {picked(result)}: {f'{shown}, ' if shown else ''}"
        f"{p50_with_interval(result.latency_ms)} ms an image, measured in {number(result.seconds, 0)} s"
    )
    if result.not_judged:
        yield f"not judged: {result.not_judged}; tune again when it is quiet"
    if result.path:
        yield f"written to {result.path}: predict and Bundle.open use it on this machine"


def _nothing(result: TunedRecord) -> str:
    stays = "A pick from before is left as it is."
    if result.max_p95_ms is None or not result.over:
        return f"no pick: nothing passes the gates and can be timed here. {stays}"
    near = result.over[0]
    what = f"{near.artifact} on {near.device}{_threads(near.threads)}: {near.reason}"
    return f"no pick within {result.max_p95_ms:g} ms; nearest is {what}. {stays}"


def _threads(count: int | None) -> str:
    return f", {count} thread{'' if count == 1 else 's'}" if count else ""
