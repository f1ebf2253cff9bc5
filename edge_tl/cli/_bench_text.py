"""A bench's result as people read it. Computes nothing: every number comes from the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from edge_tl.cli._console import milliseconds
from edge_tl.cli._latency_text import UNKNOWN, in_brackets, p50_with_interval
from edge_tl.cli._paced_text import paced_text, sustained_text
from edge_tl.cli._table import grid
from edge_tl.device.bench.drift import SIGNIFICANT
from edge_tl.device.bench.machine_use import busy_reason
from edge_tl.device.format import DASH, NOT_JUDGED, clock
from edge_tl.device.records.bench import (
    ArtifactTiming,
    BenchResult,
    NoiseRecord,
    SweepTiming,
    ThroughputRecord,
)


def result_text(result: BenchResult) -> str:
    """The whole text of a result, by its kind."""
    rows = result.artifacts
    parts = [_latencies(result)]
    if result.noise:
        parts.append(_noise(result.noise))
    if any(row.paced or row.loaded for row in rows):
        parts.append(paced_text(rows))
    parts += [sustained_text(row.id, row.sustained) for row in rows if row.sustained]
    if rows and rows[0].parts:
        parts += [_steps(rows), _cold(rows)]
    if result.sweep is not None:
        parts.append(_sweep(result.sweep))
    if result.throughput is not None:
        parts.append(_streams(result.throughput))
    parts.append(_footnotes(result))
    return "\n\n".join(part for part in parts if part)


def next_command(result: BenchResult, bundle: Path) -> str:
    """What to type next."""
    shown = quote(str(bundle))
    if result.kind == "latency":
        return f"next: edge-tl bench {shown} --fps 10, at a camera's pace; or edge-tl predict {shown} IMAGE"
    return f"next: edge-tl bench {shown} --save, to compare later"


def _latencies(result: BenchResult) -> str:
    rated = any(row.speedup is not None or row.not_judged for row in result.artifacts)
    rows = []
    for row in result.artifacts:
        ms, ran = row.latency_ms, row.ran
        cells = [row.id, p50_with_interval(ms), milliseconds(ms.p90), milliseconds(ms.p99), str(ms.n)]
        if rated:
            cells.append(_speedup(row, result.baseline))
        cells.append(f"{ran.device} {ran.precision} x{ran.threads}")
        cells.append("not steady" if row.steady is False else "")
        rows.append(cells)
    headings = ["artifact", "p50 ms [95 %]", "p90 ms", "p99 ms", "calls"]
    headings += [f"x {result.baseline}"] if rated else []
    headings += ["ran on", "remarks"]
    if not any(row[-1] for row in rows):
        rows, headings = [row[:-1] for row in rows], headings[:-1]
    return grid(headings, rows)


def _speedup(row: ArtifactTiming, baseline: str | None) -> str:
    if row.id == baseline:
        return "1"
    if row.speedup is None:
        return NOT_JUDGED if row.not_judged else DASH
    words = f"{row.speedup:.2f}{in_brackets(row.speedup_ci)}"
    return words + (" not distinguishable" if row.distinguishable is False else "")


def _footnotes(result: BenchResult) -> str:
    rows, lines = result.artifacts, []
    if any(None in (row.latency_ms.p50, row.latency_ms.p90, row.latency_ms.p99) for row in rows):
        lines.append("— : too few calls for this percentile (p50 needs 11, p90 64, p99 662)")
    if any(row.latency_ms.p50_ci == (None, None) for row in rows):
        lines.append(
            f"{UNKNOWN}: the rounds differ too much for an interval; add --rounds, or quiet the machine"
        )
    for row in rows:
        if row.steady is False:
            trends = {"within each process": row.within_process, "over the run": row.across_run}
            moved = [
                f"{100 * trend.change:+.1f} % {words}"
                for words, trend in trends.items()
                if trend and trend.p < SIGNIFICANT
            ]
            lines.append(f"not steady: {row.id} {', '.join(moved)}")
    busy = busy_reason(result.conditions, result.machine.cores_allowed)
    if busy:
        lines += [f"no speed is judged: {busy}", "measure again with --wait-quiet 5m"]
    for row in rows:
        if row.not_judged and row.not_judged != busy:
            lines.append(f"{NOT_JUDGED}: {row.id}: {row.not_judged}")
    if result.conditions and (wait := result.conditions.wait):
        lines.append(f"timed after {clock(wait.waited_s)} of waiting for a quiet machine")
    load = result.conditions.before.load1 if result.conditions else None
    cores = result.machine.cores_allowed
    if load is not None and load > 0.5 * cores:
        lines.append(f"the machine was busy before the first call: load {load:.1f} on {cores} cores allowed")
    return "\n".join(lines)


def _noise(noise: NoiseRecord) -> str:
    if noise.ratio is None or noise.width is None:
        return "Fewer than three rounds: the noise has no interval."
    contains = (
        "contains 1, as it should"
        if noise.contains_one
        else "does NOT contain 1: do not trust ratios near it"
    )
    return (
        f"noise of this machine now: the same file against itself {noise.ratio:.4f}"
        f"{in_brackets(noise.ratio_ci, 4)}, {100 * noise.width:.1f} % wide; it {contains}."
    )


def _steps(artifacts: Sequence[ArtifactTiming]) -> str:
    rows = []
    for row in artifacts:
        if row.parts:
            steps = [row.parts.decode, row.parts.preprocess, row.parts.inference, row.parts.postprocess]
            rows.append([row.id, *(milliseconds(step.p50) for step in (*steps, row.parts.whole))])
    headings = ["p50 ms of", "decode", "preprocess", "inference", "postprocess", "whole"]
    return (
        grid(headings, rows) + "\nover the golden images; whole: from encoded image to labels, timed as one"
    )


def _cold(artifacts: Sequence[ArtifactTiming]) -> str:
    rows = []
    for row in artifacts:
        if row.cold_ms and row.memory_mb and row.size_mb is not None:
            cold = (row.cold_ms.import_, row.cold_ms.read_, row.cold_ms.compile, row.cold_ms.first)
            memory = (row.memory_mb.loaded, row.memory_mb.peak)
            sizes = [DASH if size is None else f"{size:.0f}" for size in memory]
            rows.append([row.id, *map(milliseconds, cold), *sizes, f"{row.size_mb:.2f}"])
    headings = [
        "cold start, ms",
        "import",
        "read",
        "load, compile",
        "first call",
        "MiB loaded",
        "MiB peak",
        "file MB",
    ]
    return grid(headings, rows)


def _sweep(sweep: Sequence[SweepTiming]) -> str:
    rows = []
    for row in sweep:
        asked = row.asked_threads
        rate = DASH if row.images_per_s is None else f"{row.images_per_s:.1f}"
        cells = [
            row.artifact,
            str(row.batch),
            str(row.threads) + (f" (asked {asked})" if asked not in (None, row.threads) else ""),
            milliseconds(row.latency_ms.p50),
        ]
        rows.append([*cells, milliseconds(row.ms_per_image), rate])
    return grid(["artifact", "batch", "threads", "p50 ms", "ms per image", "images/s"], rows)


def _streams(found: Sequence[ThroughputRecord]) -> str:
    rows = []
    for row in found:
        ran = row.ran
        streams = DASH if ran.streams is None else str(ran.streams)
        how = f"{ran.device} {ran.precision}, {streams} streams, {ran.threads} threads"
        span = f"{min(row.rounds):.1f} to {max(row.rounds):.1f}"
        rows.append([row.artifact, f"{row.images_per_s:.1f}", span, how])
    return grid(["throughput", "images/s", "of all rounds", "ran on"], rows)
