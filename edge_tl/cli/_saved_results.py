"""What `bench --compare` does: saved results side by side as people read them, and what the gate says.

Computes nothing: every number comes from `edge_tl.device.bench.compare_results`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge_tl.cli._console import finish, milliseconds, say
from edge_tl.cli._latency_text import in_brackets, p50_with_interval
from edge_tl.cli._saving import save_to, saved
from edge_tl.cli._table import grid
from edge_tl.device.errors import EXIT_GATE_FAILED, BadInput
from edge_tl.device.format import DASH, NOT_JUDGED

if TYPE_CHECKING:
    from edge_tl.device.records.bench_comparison import ComparedRow, ResultsComparison


def compare_saved(
    files: list[Path], *, plot: Path | None, fail_if_slower: str | None, out: Path | None, as_json: bool
) -> int:
    """Print the files side by side, draw and save what was asked for; returns the exit code. Raises `BadInput`."""
    from edge_tl.device.bench import compare_results, results

    limit = compare_results.percent(fail_if_slower) if fail_if_slower is not None else None
    if plot and plot.suffix not in (".svg", ".png"):
        raise BadInput(f"--plot {plot}: give a file that ends in .svg or .png.")
    read = [(str(path), results.read_result(path)) for path in files]
    if len(read) == 1:
        say("one result: give another after it, to compare it with the first")
    found = compare_results.compare_results(read, fail_if_slower=limit)
    if plot:
        from edge_tl.host.reports.bench_plot import write_bench_plot

        write_bench_plot(found, plot)
        say(f"drawn {plot}")
    code = 0 if found.passed else EXIT_GATE_FAILED
    record = found.to_json()
    return saved(
        lambda: save_to(record, out),
        lambda: finish(record, compared_text(found), as_json=as_json, code=code),
    )


def compared_text(found: ResultsComparison) -> str:
    """The table of saved results, and what the gate says."""
    legend = [
        [f"[{number}]", file.date[:16].replace("T", " "), file.machine, file.file]
        for number, file in enumerate(found.files, 1)
    ]
    order = list(dict.fromkeys(row.figure for row in found.rows))
    rows = [
        _cells(row) for row in sorted(found.rows, key=lambda row: (row.artifact, order.index(row.figure)))
    ]
    headings = ["artifact", "how", "result", "p50 ms [95 %]", "p90 ms", "p99 ms"]
    headings += ["x the base's time", "remarks"]
    if order == ["latency"]:  # one measurement an artifact: how goes without saying
        headings, rows = [headings[0], *headings[2:]], [[row[0], *row[2:]] for row in rows]
    left = headings.index("result") + 1
    files = grid(["", "when (UTC)", "machine", "file"], legend, left=4)
    note = ""
    if any(row.slowdown is not None and not row.is_base for row in found.rows):
        note = "Times are of all calls together; the ratio is by medians of processes, each with luck of its own."
    parts = [files, note, grid(headings, rows, left=left), "\n".join(_gate_lines(found))]
    return "\n\n".join(part for part in parts if part)


def _cells(row: ComparedRow) -> list[str]:
    if row.is_base:
        ratio = "base"
    elif row.not_judged:
        ratio = NOT_JUDGED
    elif row.slowdown is None:
        ratio = "not in the base" if not row.in_base else DASH
    else:
        ratio = f"{row.slowdown:.3f}{in_brackets(row.slowdown_ci, 3)}"
    remarks = [] if row.images_per_s is None else [f"{row.images_per_s:.1f} images/s"]
    remarks += [] if row.same_machine else ["another machine"]
    remarks += row.changed
    remarks += [row.not_judged] if row.not_judged else []
    if row.distinguishable is False:
        remarks.append("not distinguishable")
    ms = row.latency_ms
    cells = [row.artifact, row.how, f"[{row.number + 1}]", p50_with_interval(ms)]
    return [*cells, milliseconds(ms.p90), milliseconds(ms.p99), ratio, "; ".join(remarks)]


def _gate_lines(found: ResultsComparison) -> list[str]:
    """What the table does not show, and what the gate says."""
    lines = [f"not compared: {what}" for what in found.not_compared]
    if found.limit is None or not found.gates:
        return [*(f"not compared: {gap.reason}" for gap in found.missing), *lines]
    for gate in found.gates:
        word = "FAIL" if not gate.passed else "pass" if gate.judged else NOT_JUDGED
        lines.append(f"{word}: {gate.reason}")
    limit, left = f"{100 * found.limit:g} %", sum(not gate.judged for gate in found.gates)
    if not found.passed:
        proven = any(gate.judged and not gate.passed for gate in found.gates)
        why = f"slower than {limit} beyond doubt" if proven else "an artifact of the base is missing"
        return [*lines, f"FAILED: {why}; see above."]
    rest = f" Not judged: {left}, see above." if left else ""
    return [*lines, f"PASSED: no slow-down beyond {limit} is proven.{rest}"]
