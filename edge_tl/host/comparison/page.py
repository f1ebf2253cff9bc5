"""Write the record of a comparison as rows, sentences, one HTML file and one SVG file that need nothing beside them.

Measures and chooses nothing: every number comes from the record.
"""

from __future__ import annotations

from pathlib import Path

from edge_tl.device.files import write_atomic
from edge_tl.device.format import DASH, interval, number, one_line
from edge_tl.host.comparison import plot
from edge_tl.host.comparison.pareto import SIGNIFICANT, Budget
from edge_tl.host.comparison.record import ComparedTrial, ComparisonRecord
from edge_tl.host.reports.page import render
from edge_tl.host.reports.table import Column, Row, Table, named_values

COLUMNS = (
    Column("model", "model", False),
    Column("strategy", "strategy", False),
    Column("lr", "lr"),
    Column("epochs", "epochs"),
    Column("val", "validation %"),
    Column("interval", "95 % interval"),
    Column("test", "test %"),
    Column("latency", "p50 [p90] ms"),
    Column("size", "size MB"),
    Column("seconds", "train s"),
    Column("standing", "", False),
)
FAILED = (
    Column("name", "trial", False),
    Column("state", "state", False),
    Column("reason", "reason", False),
)
HOW = (
    "Accuracies: of the validation images, which choose, and of the test images. Interval: Wilson, 95 %, of the "
    "validation accuracy. Latency: the FP32 ONNX file of each model, one image a call, all models in interleaved "
    "rounds of fresh processes; trials of one model share it. Front: no other trial is as accurate and as fast, and "
    "better in one of both. Fisher's test takes the images of two trials as drawn independently, so it errs towards "
    "showing no difference."
)


def trial_table(record: ComparisonRecord) -> Table:
    """The trials that finished, the most accurate first; without the test accuracy and the learning rate where no trial
    has one."""
    trials = record.trials
    done = [trial for trial in trials if trial.complete]
    done.sort(key=lambda trial: (-(trial.val_accuracy or 0), trial.p50_ms or 0))
    empty = {"lr"} if all(trial.lr is None for trial in trials) else set()
    if all(trial.split != "test" for trial in trials):
        empty.add("test")
    columns = [column for column in COLUMNS if column.key not in empty]
    return Table(columns, [_row(record, trial) for trial in done])


def unfinished_table(record: ComparisonRecord) -> Table:
    """What did not finish, and why."""
    rows = [
        {"name": one_line(trial.name), "state": trial.state, "reason": one_line(trial.reason)}
        for trial in record.trials
        if not trial.complete
    ]
    rows += [
        {"name": one_line(model), "state": "no latency", "reason": one_line(reason)}
        for model, reason in record.timing.unmeasured.items()
    ]
    return Table(FAILED, rows)


def sentence(record: ComparisonRecord) -> str:
    """The answer in one line: the pick and its figures, or what misses the budget least."""
    budget = _budget(record.budget)
    if record.pick:
        return f"{_figures(record, record.trial(record.pick))}{f', within the budget ({budget})' if budget else ''}."
    misses = "; ".join(_figures(record, record.trial(name)) for name in record.nearest)
    return f"No trial keeps the budget ({budget}). Nearest: {misses}."


def remarks(record: ComparisonRecord) -> list[str]:
    """What one must know before acting on the answer: what is noise, and what the pick's true accuracy is."""
    pick = record.trial(record.pick) if record.pick else None
    lines = []
    if record.not_judged:
        lines.append(
            f"Latency not judged: {record.not_judged}; of equally accurate trials the smallest is the pick, and "
            "there is no front. Compare again when it is quiet, or with --wait-quiet 5m."
        )
    if pick and (second := record.runner_up) and second.p_value >= SIGNIFICANT:
        rival = record.trial(second.name)
        lines.append(
            f"As many right answers: {_figures(record, rival)}; the pick is the "
            f"{'smaller' if record.not_judged else 'faster'} one, or came first."
            if rival.val_accuracy == pick.val_accuracy
            else f"The pick is not significantly better than the runner-up, {_figures(record, rival)} "
            f"(Fisher's exact test, p = {number(second.p_value)}): {number(rival.n_val, 0)} images "
            "do not show a difference."
        )
    if faster := record.faster:
        rival = record.trial(faster.name)
        lines.append(
            f"Faster, and {number(rival.n_val, 0)} images do not show it to be less accurate: "
            f"{_figures(record, rival)} (p = {number(faster.p_value)})."
        )
    if pick and pick.split == "test":
        lines.append(
            f"The best of many is partly luck: rely on the test accuracy of the pick, "
            f"{number(pick.accuracy, 2, 100)} % of {number(pick.n, 0)} images that chose nothing."
        )
    return lines


def write_comparison_page(record: ComparisonRecord, path: Path) -> None:
    """The page of a comparison's record."""
    whole = record.to_json()
    shown = ("study", "grid", "weights", "timing", "versions", "seed", "recipe")
    render(
        "compare.html.j2",
        path,
        record.name,
        {key: whole[key] for key in shown},
        sentence=sentence(record),
        good=record.pick is not None,
        remarks=remarks(record),
        plot=plot.draw_comparison(record),
        trials=trial_table(record),
        how=HOW,
        failed=unfinished_table(record),
        machine=named_values(whole["machine"]),
    )


def write_comparison_plot(record: ComparisonRecord, path: Path) -> bool:
    """The drawing as a file of its own, light and dark; without any latency there is none, and False is returned."""
    path.unlink(missing_ok=True)
    drawn = plot.draw_comparison(record)
    if drawn is None:
        return False
    write_atomic(path, plot.standalone(drawn).encode("utf-8", "backslashreplace"))
    return True


def _row(record: ComparisonRecord, trial: ComparedTrial) -> Row:
    latency, (low, high) = trial.latency_ms, trial.interval or (None, None)
    p50, p90 = number(trial.p50_ms), number(latency.p90 if latency else None)
    picked = trial.name == record.pick
    as_asked = trial.trained in (trial.strategy, None)
    return {
        "model": one_line(trial.model),
        "strategy": one_line(trial.strategy if as_asked else f"{trial.strategy}: {trial.trained}"),
        "lr": one_line(_rate(trial)),
        "epochs": number(trial.epochs, 0),
        "val": number(trial.val_accuracy, 2, 100),
        "interval": f"[{number(low, 1, 100)}, {number(high, 1, 100)}]",
        "test": number(trial.accuracy, 2, 100) if trial.split == "test" else DASH,
        "latency": p50 if DASH in (p50, p90) else f"{p50} [{p90}]",
        "size": number(trial.size_mb),
        "seconds": number(trial.seconds, 1),
        "standing": "pick" if picked else "front" if trial.front else "",
        "mark": "pick" if picked else "",  # what the page highlights
    }


def _rate(trial: ComparedTrial) -> str:
    if trial.lr is not None:
        return f"{trial.lr:g}"
    return DASH if trial.trained == "head" else "default"


def _figures(record: ComparisonRecord, trial: ComparedTrial) -> str:
    """Its accuracy, and its latency with the interval; on a busy machine its size."""
    accuracy = f"{one_line(trial.name)}: {number(trial.val_accuracy, 2, 100)} %"
    if record.not_judged:
        return accuracy + ("" if trial.size_mb is None else f" in {number(trial.size_mb)} MB")
    latency = trial.latency_ms
    return accuracy + (
        "" if latency is None or latency.p50 is None else f" at {interval(latency.p50, latency.p50_ci)} ms"
    )


def _budget(budget: Budget) -> str:
    limit, least = budget.max_latency_ms, budget.min_accuracy
    parts = [f"at most {limit:g} ms"] if limit is not None else []
    parts += [f"at least {100 * least:g} %"] if least is not None else []
    return ", ".join(parts)
