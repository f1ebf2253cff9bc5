"""Turn the record of an export or of a run into rows of text: numbers are formatted here and in `run_tables`.

Must not measure, judge or lay out: every number comes from the record, and one that is not there
becomes a dash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from edge_tl.device.bench.machine_use import unreliable
from edge_tl.device.format import DASH, interval, number, words
from edge_tl.device.metrics import Confusion, cells

UNJUDGED = "not judged"

Row = dict[str, str]


class Column(NamedTuple):
    """One column of a table: the row's key, what people read above it, and whether to align right."""

    key: str
    heading: str
    numeric: bool = True


TABLE = (
    Column("name", "artifact", False),
    Column("accuracy", "accuracy %"),
    Column("drop", "drop pp [interval]"),
    Column("agreement", "agreement %"),
    Column("p50", "p50 ms"),
    Column("p90", "p90 ms"),
    Column("p99", "p99 ms"),
    Column("speedup", "speed-up × [interval]"),
    Column("size", "size MB"),
    Column("verdict", "verdict", False),
)
GATES = (
    Column("gate", "gate", False),
    Column("artifact", "artifact", False),
    Column("verdict", "verdict", False),
    Column("measured", "measured"),
    Column("limit", "limit"),
    Column("reason", "reason", False),
)
CHANGED = (
    Column("image", "image", False),
    Column("label", "true label", False),
    Column("pytorch", "PyTorch said", False),
    Column("device", "artifact says", False),
    Column("effect", "effect", False),
)
RAN = (
    Column("name", "artifact", False),
    Column("device", "device", False),
    Column("precision", "precision", False),
    Column("threads", "threads"),
    Column("n", "timed runs"),
    Column("needs", "needs", False),
)
PER_CLASS = (
    Column("label", "class", False),
    Column("precision", "precision %"),
    Column("recall", "recall %"),
    Column("f1", "F1 %"),
    Column("n", "images"),
)
CONFUSED = (
    Column("label", "true label", False),
    Column("predicted", "predicted as", False),
    Column("count", "images"),
    Column("share", "% of that class"),
)
FILES = (Column("path", "image", False), Column("reason", "reason", False))

# A failed gate names the room to look in; without this line people retrain when a decoder changed.
MEANING = {
    "pixels": "the file becomes other pixels here: look at the image decoder and the resize, not the model",
    "device": "the same file gives other answers here: look at the CPU, its instruction set and the runtime",
    "loss": "export or quantization changed the answers: try the fp32 artifact or other calibration images",
    "speed": "the answers are right but late: look at threads, other load and which device really ran",
}


def table(record: dict[str, Any]) -> list[Row]:
    """Rows of ``TABLE``: PyTorch first, then every artifact in the record's order."""
    reference = record.get("reference") or {}
    conditions = record.get("conditions")
    rows = [_measures({**reference, "drop_pp": None, "agreement": None, "speedup": None}, conditions)]
    rows[0] |= {"name": "PyTorch", "verdict": "reference"}
    for artifact in record.get("artifacts") or []:
        verdict = _verdict(record, artifact)
        rows.append(
            {**_measures(artifact, conditions), "name": words(artifact.get("id")), "verdict": verdict}
        )
    return rows


def gates(record: dict[str, Any]) -> list[Row]:
    """Rows of ``GATES``; the pixels gate belongs to every artifact."""
    rows = []
    for gate in record.get("gates") or []:
        unit, passed = gate.get("unit"), gate.get("passed")
        verdict = "not checked" if passed is None else "pass" if passed else "FAIL"
        if gate.get("judged") is False:
            verdict = "not judged"
        rows.append(
            {"gate": words(gate.get("gate")), "artifact": words(gate.get("artifact") or "all")}
            | {key: _significant(gate.get(key), unit) for key in ("measured", "limit")}
            | {"verdict": verdict}
            | {"reason": words(gate.get("reason"))}
        )
    return rows


def failures(record: dict[str, Any]) -> list[tuple[Row, str]]:
    """The gates that failed, each with what its failure means."""
    return [(row, MEANING.get(row["gate"], "")) for row in gates(record) if row["verdict"] == "FAIL"]


def changed(artifact: dict[str, Any]) -> list[Row]:
    """Rows of ``CHANGED``: images whose answer is not PyTorch's, and whether that hurt."""
    rows = []
    for item in artifact.get("changed") or []:
        truth, before, after = (item.get(key) for key in ("label", "pytorch", "device"))
        effect = "lost" if before == truth else "gained" if after == truth else "wrong before and after"
        effect = DASH if truth is None else effect
        rows.append({c.key: words(item.get(c.key)) for c in CHANGED} | {"effect": effect})
    return rows


def effects(rows: Sequence[Row]) -> str:
    """How many images changed and to what effect: ``7 (5 lost, 2 gained)``."""
    counts = Counter(row["effect"] for row in rows)
    return f"{len(rows):,}" + (
        f" ({', '.join(f'{n:,} {what}' for what, n in counts.items())})" if rows else ""
    )


def ran(record: dict[str, Any]) -> list[Row]:
    """Rows of ``RAN``: what really executed, PyTorch first."""
    rows = []
    for item in [{"id": "PyTorch", **(record.get("reference") or {})}, *(record.get("artifacts") or [])]:
        actual, latency = item.get("ran") or {}, item.get("latency_ms") or {}
        rows.append(
            {"name": words(item.get("id")), "threads": number(actual.get("threads"), 0)}
            | {key: words(actual.get(key)) for key in ("device", "precision")}
            | {"n": number(latency.get("n"), 0), "needs": words(item.get("runtime_floor"))}
        )
    return rows


def confused(confusion: Confusion, labels: Sequence[str], limit: int) -> list[Row]:
    """Rows of ``CONFUSED``: the most frequent wrong answers (rows of ``confusion`` are true labels)."""
    counts, of = cells(confusion), Counter[int]()
    for i, _, n in counts:
        of[i] += n
    wrong = sorted(((n, i, j) for i, j, n in counts if i != j), key=lambda cell: (-cell[0], cell[1:]))
    return [
        {"label": words(labels[i]), "predicted": words(labels[j]), "count": number(n, 0)}
        | {"share": number(n / of[i], 1, 100)}
        for n, i, j in wrong[:limit]
    ]


def facts(record: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """A nested record as flat (name, text) pairs: machine identity, versions."""
    pairs: list[tuple[str, str]] = []
    for key, value in record.items():
        if isinstance(value, dict):
            pairs += facts(value, f"{prefix}{key} ")
        else:
            value = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
            value = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            pairs.append((words(f"{prefix}{key}".replace("_", " ")), words(value)))
    return pairs


def per_class(record: dict[str, Any]) -> list[Row]:
    """Rows of ``PER_CLASS`` of a run record."""
    return [
        {"label": words(item.get("label")), "n": number(item.get("n"), 0)}
        | {key: number(item.get(key), 2, 100) for key in ("precision", "recall", "f1")}
        for item in (record.get("metrics") or {}).get("per_class") or []
    ]


def put_aside(record: dict[str, Any], key: str) -> list[Row]:
    """Rows of ``FILES`` of a run record: images that were ``skipped`` or are ``duplicates``."""
    rows = []
    for item in (record.get("data") or {}).get(key) or []:
        paths = item.get("paths") or [item.get("path")]
        rows.append({"path": " = ".join(map(words, paths)), "reason": words(item.get("reason"))})
    return rows


def _measures(item: dict[str, Any], conditions: dict[str, Any] | None) -> Row:
    latency, files = item.get("latency_ms") or {}, item.get("files") or []
    return {
        "accuracy": number(item.get("accuracy"), 2, 100),
        "drop": interval(item.get("drop_pp"), item.get("drop_ci_pp")),
        "agreement": number(item.get("agreement"), 2, 100),
        **{key: number(latency.get(key)) for key in ("p50", "p90", "p99")},
        "speedup": _speedup(item, conditions),
        "size": number(sum(file.get("bytes") or 0 for file in files) / 1e6) if files else DASH,
    }


def _speedup(item: dict[str, Any], conditions: dict[str, Any] | None) -> str:
    """The figure, or that it says nothing: what was timed beside others must not look like a result."""
    bounds = item.get("speedup_ci")
    text = interval(item.get("speedup"), bounds)
    known = bounds if "[" in text else None
    return text if text == DASH or unreliable(known, conditions) is None else UNJUDGED


def _significant(value: object, unit: object) -> str:
    # Gates measure anything from 1e-6 to thousands, so here significant digits, not decimals.
    if not isinstance(value, (int, float)) or number(value) == DASH:
        return DASH
    return f"{value:.4g} {unit}" if unit else f"{value:.4g}"


def _verdict(record: dict[str, Any], artifact: dict[str, Any]) -> str:
    name, passed = artifact.get("id"), artifact.get("passed")
    if passed is None:
        return "not checked"
    if passed:
        over = [words(b.get("budget")) for b in artifact.get("budgets") or [] if b.get("kept") is False]
        extra = ["recommended"] * (name == record.get("recommended")) + [f"over {word}" for word in over]
        return ", ".join(["pass", *extra])
    rooms = [gate for gate in record.get("gates") or [] if gate.get("passed") is False]
    rooms = [words(gate.get("gate")) for gate in rooms if gate.get("artifact") in (name, None)]
    return "FAIL: " + ", ".join(dict.fromkeys(rooms)) if rooms else "FAIL"
