"""A bench's result as people read it. It must not compute: every number comes from the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_tl.cli._console import milliseconds
from edge_tl.cli._table import grid
from edge_tl.device.bench.machine_use import busy_reason

NONE = "—"
UNKNOWN = "[unknown]"


def shown(result: dict[str, Any]) -> str:
    """The whole text of a result, by its kind."""
    parts = [_latencies(result)]
    if "noise" in result:
        parts.append(_noise(result["noise"]))
    if any("paced" in row or "loaded" in row for row in result["artifacts"]):
        parts.append(_paced(result["artifacts"]))
    parts += [_sustained(row) for row in result["artifacts"] if "sustained" in row]
    if result["artifacts"] and "parts" in result["artifacts"][0]:
        parts += [_steps(result["artifacts"]), _cold(result["artifacts"])]
    if "sweep" in result:
        parts.append(_sweep(result["sweep"]))
    if "throughput" in result:
        parts.append(_streams(result["throughput"]))
    parts.append(_footnotes(result))
    return "\n\n".join(part for part in parts if part)


def next_command(result: dict[str, Any], bundle: Path) -> str:
    """What to type next."""
    if result["kind"] == "latency":
        return f"next: edge-tl bench {bundle} --fps 10, at a camera's pace; or edge-tl predict {bundle} IMAGE"
    return f"next: edge-tl bench {bundle} --save, to compare later"


def _latencies(result: dict[str, Any]) -> str:
    rated = any(row["speedup"] is not None for row in result["artifacts"])
    rows = []
    for row in result["artifacts"]:
        ms, ran = row["latency_ms"], row["ran"]
        cells = [
            row["id"],
            with_interval(ms, "p50"),
            *(milliseconds(ms[p]) for p in ("p90", "p99")),
            str(ms["n"]),
        ]
        if rated:
            cells.append(_speedup(row, result["baseline"]))
        cells.append(f"{ran['device']} {ran['precision']} x{ran['threads']}")
        cells.append({True: "", False: "not steady", None: ""}[row.get("steady")])
        rows.append(cells)
    headings = ["artifact", "p50 ms [95 %]", "p90 ms", "p99 ms", "calls"]
    headings += [f"x {result['baseline']}"] if rated else []
    headings += ["ran on", "remarks"]
    if not any(row[-1] for row in rows):
        rows, headings = [row[:-1] for row in rows], headings[:-1]
    return grid(headings, rows)


def _speedup(row: dict[str, Any], baseline: str) -> str:
    if row["id"] == baseline:
        return "1"
    words = f"{row['speedup']:.2f}{interval(row['speedup_ci'])}"
    return words + (" not distinguishable" if row["distinguishable"] is False else "")


def _footnotes(result: dict[str, Any]) -> str:
    rows, lines = result["artifacts"], []
    if any(row["latency_ms"][p] is None for row in rows for p in ("p50", "p90", "p99")):
        lines.append("— : too few calls for this percentile (p50 needs 11, p90 64, p99 662)")
    if any(row["latency_ms"].get("p50_ci") == [None, None] for row in rows):
        lines.append(
            f"{UNKNOWN}: the rounds differ too much for an interval; add --rounds, or quiet the machine"
        )
    for row in rows:
        if row.get("steady") is False:
            where = {"within_process": "within each process", "across_run": "over the run"}
            moved = [
                f"{100 * row[key]['change']:+.1f} % {words}"
                for key, words in where.items()
                if row.get(key) and row[key]["p"] < 0.01
            ]
            lines.append(f"not steady: {row['id']} {', '.join(moved)}")
    if taken := busy_reason(result["conditions"]):
        lines.append(f"this machine is busy: {taken} while this was timed; measure again when it is quiet")
    load = result["conditions"]["before"].get("load1")
    cores = result["machine"]["cores_allowed"]
    if load is not None and load > 0.5 * cores:
        lines.append(f"the machine was busy before the first call: load {load:.1f} on {cores} cores allowed")
    return "\n".join(lines)


def _noise(noise: dict[str, Any]) -> str:
    if noise["ratio_ci"] is None:
        return "Fewer than three rounds: the noise has no interval."
    verdict = (
        "contains 1, as it should"
        if noise["contains_one"]
        else "does NOT contain 1: do not trust ratios near it"
    )
    return (
        f"noise of this machine now: the same file against itself {noise['ratio']:.4f}"
        f"{interval(noise['ratio_ci'], 4)}, {100 * noise['width']:.1f} % wide; it {verdict}."
    )


def _paced(artifacts: list[dict[str, Any]]) -> str:
    rows = []
    for row in artifacts:
        rows.append([row["id"], "back to back", *_percentiles(row["latency_ms"]), "", "", ""])
        if "paced" in row:
            rows.append(_pace_row(row["id"], row["paced"], ""))
        if "loaded" in row:
            load = row["loaded"]
            beside = f", beside {load['neighbours']} busy"
            cells = [row["id"], f"back to back{beside}", *_percentiles(load["latency_ms"])]
            mean = f", mean {load['slowdown_mean']:.2f}{interval(load['slowdown_mean_ci'])}"
            rows.append([*cells, "", "", f"{load['slowdown']:.2f}{interval(load['slowdown_ci'])}{mean}"])
            if "paced" in load:
                rows.append(_pace_row(row["id"], load["paced"], beside))
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
    text = grid(headings, rows, left=2)
    paces = [p for row in artifacts for p in (row.get("paced"), row.get("loaded", {}).get("paced")) if p]
    deadlines = {paced["deadline_ms"] for paced in paces}
    if deadlines:
        text += (
            f"\nlatency counts from the moment an image was due; missed: later than {min(deadlines):.4g} ms"
            "\nx back to back, at a pace: the call alone, without waiting: what idling between images costs"
        )
    for row in artifacts:
        for paced in (row.get("paced"), row.get("loaded", {}).get("paced")):
            if paced and paced["unserved"]:
                never = f"{paced['unserved']} of {paced['n']} images were never served"
                text += f"\n{row['id']} cannot keep this pace: {never}"
    return text


def _pace_row(name: str, paced: dict[str, Any], beside: str) -> list[str]:
    idle = paced["idle_penalty"]
    wait = paced["queue_ms"]["longest"]
    return [
        name,
        f"{paced['fps']:g} a second{beside}",
        *_percentiles(paced["latency_ms"]),
        f"{paced['missed']} of {paced['n']}",
        milliseconds(wait),
        NONE if idle is None else f"{idle:.2f}{interval(paced['idle_penalty_ci'])}",
    ]


def _sustained(row: dict[str, Any]) -> str:
    lasted, sensors = row["sustained"], row["sustained"]["sensors"]
    window = f"{lasted['window_s']:.0f} s"
    rows = [
        [f"first {window}", *_percentiles(lasted["first"])],
        [f"last {window}", *_percentiles(lasted["last"])],
    ]
    beside = f", beside {lasted['neighbours']} busy" if lasted["neighbours"] else ""
    text = grid([f"{row['id']}, {lasted['minutes']:g} min{beside}", "p50 ms", "p90 ms", "p99 ms"], rows)
    if lasted["change"] is not None:
        text += f"\nlast by first: {lasted['change']:.3f}{interval(lasted['change_ci'], 3)}"
        text += f" ({lasted['change_reason']})" if lasted.get("change_reason") else ""
    for key, name, unit in (("clock_mhz", "clock", "MHz"), ("temperature_c", "temperature", "degrees C")):
        span = sensors[key]
        text += f"\n{name}: " + (
            f"{span['first']:.0f} at first, {span['min']:.0f} to {span['max']:.0f}, {span['last']:.0f} at last, {unit}"
            if span
            else "not available"
        )
    text += "\nthrottling: " + _throttling(sensors)
    watts = sensors["power_w"]
    return text + "\npower: " + (f"{watts:.1f} W" if watts is not None else "not available")


def _throttling(sensors: dict[str, Any]) -> str:
    if sensors["throttled"] is None and sensors["throttle_events"] is None:
        return "not available"
    said = list(sensors["throttled"] or [])
    if sensors["throttle_events"]:
        said.append(f"{sensors['throttle_events']} events")
    return ", ".join(said) or "none"


def _steps(artifacts: list[dict[str, Any]]) -> str:
    steps = ("decode", "preprocess", "inference", "postprocess", "whole")
    rows = [[row["id"], *(milliseconds(row["parts"][s]["p50"]) for s in steps)] for row in artifacts]
    headings = ["p50 ms of", "decode", "preprocess", "inference", "postprocess", "whole"]
    return (
        grid(headings, rows) + "\nover the golden images; whole: from encoded image to labels, timed as one"
    )


def _cold(artifacts: list[dict[str, Any]]) -> str:
    rows = []
    for row in artifacts:
        cold, memory = row["cold_ms"], row["memory_mb"]
        cells = [milliseconds(cold[key]) for key in ("import", "read", "compile", "first")]
        sizes = [NONE if memory[key] is None else f"{memory[key]:.0f}" for key in ("loaded", "peak")]
        rows.append([row["id"], *cells, *sizes, f"{row['size_mb']:.2f}"])
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


def _sweep(sweep: list[dict[str, Any]]) -> str:
    rows = []
    for row in sweep:
        asked = row["asked_threads"]
        rate = NONE if row["images_per_s"] is None else f"{row['images_per_s']:.1f}"
        cells = [
            row["artifact"],
            str(row["batch"]),
            str(row["threads"]) + (f" (asked {asked})" if asked not in (None, row["threads"]) else ""),
            milliseconds(row["latency_ms"]["p50"]),
        ]
        rows.append([*cells, milliseconds(row["ms_per_image"]), rate])
    return grid(["artifact", "batch", "threads", "p50 ms", "ms per image", "images/s"], rows)


def _streams(found: list[dict[str, Any]]) -> str:
    rows = []
    for row in found:
        ran = row["ran"]
        counts = f"{ran.get('streams', NONE)} streams, {ran.get('threads', NONE)} threads"
        how = f"{ran['device']} {ran['precision']}, {counts}"
        span = f"{min(row['rounds']):.1f} to {max(row['rounds']):.1f}"
        rows.append([row["artifact"], f"{row['images_per_s']:.1f}", span, how])
    return grid(["throughput", "images/s", "of all rounds", "ran on"], rows)


def _percentiles(ms: dict[str, Any]) -> list[str]:
    return [milliseconds(ms[p]) for p in ("p50", "p90", "p99")]


def with_interval(ms: dict[str, Any], name: str) -> str:
    """A percentile with its interval; an end that cannot be bounded is a dash."""
    if ms[name] is None:
        return NONE
    ends = ms.get(f"{name}_ci")
    if not ends:
        return milliseconds(ms[name])
    if ends == [None, None]:
        return f"{milliseconds(ms[name])} {UNKNOWN}"
    return f"{milliseconds(ms[name])} [{milliseconds(ends[0])}, {milliseconds(ends[1])}]"


def interval(ends: list[float] | None, digits: int = 2) -> str:
    return "" if not ends else f" [{ends[0]:.{digits}f}, {ends[1]:.{digits}f}]"
