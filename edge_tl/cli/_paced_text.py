"""What a bench measured at the application's rate, beside load and for minutes, as people read it. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

from edge_tl.cli._console import milliseconds
from edge_tl.cli._latency_text import in_brackets, percentiles, ratio
from edge_tl.cli._table import grid
from edge_tl.device.records.bench import ArtifactTiming
from edge_tl.device.records.paced import PacedRecord, SensorSummary, SpanRecord, SustainedRecord


def paced_text(artifacts: Sequence[ArtifactTiming]) -> str:
    """Back to back, at a rate, and both beside load, in one table."""
    rows: list[list[str]] = []
    for row in artifacts:
        rows.append([row.id, "back to back", *percentiles(row.latency_ms), "", "", ""])
        if row.paced:
            rows.append(_paced_row(row.id, row.paced, ""))
        if row.loaded:
            loaded = row.loaded
            beside = f", beside {loaded.load} busy"
            slower = ratio(loaded.slowdown, loaded.slowdown_ci)
            mean = ratio(loaded.slowdown_mean, loaded.slowdown_mean_ci)
            cells = [row.id, f"back to back{beside}", *percentiles(loaded.latency_ms)]
            rows.append([*cells, "", "", f"{slower}, mean {mean}"])
            if loaded.paced:
                rows.append(_paced_row(row.id, loaded.paced, beside))
    headings = [
        "artifact",
        "how",
        "p50 ms",
        "p90 ms",
        "p99 ms",
        "missed",
        "longest wait ms",
        "x back to back",
    ]
    # Without a rate nothing is missed and nobody waits.
    used = [i for i in range(len(headings)) if any(row[i] for row in rows)]
    rows = [[row[i] for i in used] for row in rows]
    return grid([headings[i] for i in used], rows, left=2) + _paced_notes(artifacts)


def _paced_notes(artifacts: Sequence[ArtifactTiming]) -> str:
    paced = [
        (row.id, found)
        for row in artifacts
        for found in (row.paced, row.loaded.paced if row.loaded else None)
        if found
    ]
    text = ""
    deadlines = [found.deadline_ms for _, found in paced if found.deadline_ms is not None]
    if deadlines:
        text = (
            f"\nlatency counts from the moment an image was due; missed: later than {min(deadlines):.4g} ms"
            "\nx back to back, at a rate: the call alone, without waiting: what idling between images costs"
        )
    for name, found in paced:
        if found.unserved:
            never = f"{found.unserved} of {found.n} images were never served"
            text += f"\n{name} cannot keep this rate: {never}"
    return text


def _paced_row(name: str, paced: PacedRecord, beside: str) -> list[str]:
    return [
        name,
        f"{paced.fps:g} a second{beside}",
        *percentiles(paced.latency_ms),
        f"{paced.missed} of {paced.n}",
        milliseconds(paced.queue_ms.longest),
        ratio(paced.idle_penalty, paced.idle_penalty_ci),
    ]


def sustained_text(name: str, lasted: SustainedRecord) -> str:
    """The first window against the last, and what the sensors showed."""
    window = f"{lasted.window_s:.0f} s"
    rows = [
        [f"first {window}", *percentiles(lasted.first)],
        [f"last {window}", *percentiles(lasted.last)],
    ]
    beside = f", beside {lasted.load} busy" if lasted.load else ""
    text = grid([f"{name}, {lasted.minutes:g} min{beside}", "p50 ms", "p90 ms", "p99 ms"], rows)
    if lasted.change is not None:
        text += f"\nlast by first: {lasted.change:.3f}{in_brackets(lasted.change_ci, 3)}"
        text += f" ({lasted.change_reason})" if lasted.change_reason else ""
    sensors = lasted.sensors
    text += f"\nclock: {_span(sensors.clock_mhz, 'MHz')}"
    text += f"\ntemperature: {_span(sensors.temperature_c, 'degrees C')}"
    text += f"\nthrottling: {_throttling(sensors)}"
    watts = sensors.power_w
    return text + "\npower: " + (f"{watts:.1f} W" if watts is not None else "not available")


def _span(span: SpanRecord | None, unit: str) -> str:
    if span is None:
        return "not available"
    return f"{span.first:.0f} at first, {span.min:.0f} to {span.max:.0f}, {span.last:.0f} at last, {unit}"


def _throttling(sensors: SensorSummary) -> str:
    if sensors.throttled is None and sensors.throttle_events is None:
        return "not available"
    reasons = list(sensors.throttled or [])
    if sensors.throttle_events:
        reasons.append(f"{sensors.throttle_events} events")
    return ", ".join(reasons) or "none"
