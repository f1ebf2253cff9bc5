"""Results that keep: where one is saved, which files are one, one machine's name. It must not measure or compare.

docs/reference/bench.md has the keys. Nothing in a result tells whose machine it was: no host name, user or path.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.device.bench.latency import SCHEMA
from edge_tl.device.bench.timer import Samples
from edge_tl.device.bundle import Bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.files import read_json, write_json

FOLDER = Path("benchmarks") / "results"
SAME = ("cpu", "arch", "os", "cores_allowed", "isa")  # two results of one machine agree in these
BACK_TO_BACK = "back to back"
_AGAIN = "Run edge-tl bench on the bundle again, with -o or --save."


@dataclass(frozen=True)
class Measurement:
    """One thing that a result says of an artifact, with the raw times behind it.

    `key` is what it is called in every result, `how` the same in words. Two figures of one key are alike where all of
    `under` agrees: a latency at ten images a second is no measure of one at thirty. `rounds` are blocks of
    nanoseconds by process.
    """

    artifact: str
    key: str
    how: str
    under: dict[str, Any]
    latency_ms: dict[str, Any]
    ran: dict[str, Any]
    rounds: list[list[Samples]]
    images_per_s: float | None = None

    @property
    def id(self) -> tuple[str, str]:
        """What finds it in another result."""
        return self.artifact, self.key


def with_bundle(result: dict[str, Any], bundle: Bundle) -> dict[str, Any]:
    """With the name of the bundle and the hashes of every artifact's files."""
    hashes = {a.id: [f.sha256 for f in a.record.files] for a in bundle.artifacts}
    return result | {"name": bundle.record.name, "bundle": hashes}


def machine_slug(machine: dict[str, Any]) -> str:
    """What stands for a machine in a path: CPU, cores allowed, system. Two machines of a kind share it."""
    words = f"{machine['cpu'] or machine['arch']} {machine['cores_allowed']} cores {machine['os']}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def save_result(result: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write `folder/MACHINE/DATE-NAME-KIND.json` (and the folders), never over another; returns the path."""
    when = re.sub(r"[^0-9]", "", result["date"].partition("+")[0])
    name = re.sub(r"[^\w.-]+", "-", f"{when[:8]}-{when[8:]}-{result.get('name') or 'bench'}-{result['kind']}")
    path = folder / machine_slug(result["machine"]) / f"{name}.json"
    number = 2
    while path.exists():
        path = path.with_name(f"{name}-{number}.json")
        number += 1
    write_json(path, result)
    return path


def read_result(path: Path) -> dict[str, Any]:
    """A saved result. Raises `BadInput` in one line when the file is none, of another schema, or damaged."""
    if path.is_dir():
        raise BadInput(f"{path}: a folder, not a result of edge-tl bench. Give its .json files.")
    result = read_json(path)
    schema = result.get("schema")
    if not isinstance(schema, str) or not schema.startswith("edge-tl bench "):
        raise BadInput(f"{path}: no result of edge-tl bench. {_AGAIN}")
    if schema != SCHEMA:
        raise BadInput(f"{path}: schema {schema!r}, this edge-tl reads {SCHEMA!r}. {_AGAIN}")
    try:
        machine_slug(result["machine"])
        if not isinstance(result["date"], str) or not isinstance(result["method"], dict):
            raise TypeError("date or method")
        if not isinstance(result.get("bundle") or {}, dict) or not isinstance(result.get("kind", ""), str):
            raise TypeError("bundle or kind")
        if "conditions" in result:
            _number(result["conditions"]["before"].get("load1"), "conditions.before.load1")
        measurements(result)  # reads all that is compared later
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BadInput(
            f"{path}: not as edge-tl bench writes it ({type(error).__name__}: {error}). {_AGAIN}"
        ) from None
    return result


def rounds_of(row: dict[str, Any]) -> list[list[Samples]]:
    """An artifact's raw blocks, round by round: nanoseconds. Raises `ValueError` where they do not fit."""
    return _by_round(row["samples_ns"], row["block_round"])


def measurements(result: dict[str, Any]) -> list[Measurement]:
    """All that can be compared between two results: each artifact's latency back to back, at its pace, beside load and
    at the end of a long run, every combination of a sweep, throughput. Raises what `read_result` turns into words.

    Of a long run it is the last window, in which the machine is as hot as it gets; it is one process, so one round.
    """
    found: list[Measurement] = []
    for row in result["artifacts"]:
        found += _of_artifact(result, row)
    for row in result.get("sweep", []):
        how = f"batch {row['batch']:d}" + (
            f", {row['asked_threads']:d} threads" if row["asked_threads"] else ""
        )
        found.append(_figure(row, row["artifact"], f"sweep {how}", how, {}, rounds_of(row)))
    for row in result.get("throughput", []):
        # A rate has no latency: the time an image takes of each process stands for its calls.
        times = [[round(1e9 / rate)] for rate in row["rounds"]]
        unknown = {"p50": None, "p90": None, "p99": None, "n": len(times)}
        rounds = _by_round(times, range(len(times)))
        figure = _figure(
            {"ran": row["ran"], "latency_ms": unknown}, row["artifact"], "throughput", "throughput",
            {"batch": row["batch"]}, rounds, _number(row["images_per_s"], "images_per_s"),
        )  # fmt: skip
        found.append(figure)
    return found


def same_machine(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two `machine{}` are of one machine, as far as anonymous facts can tell."""
    return all(a.get(key) == b.get(key) for key in SAME)


def _of_artifact(result: dict[str, Any], row: dict[str, Any]) -> Iterator[Measurement]:
    name, numbers, kind = row["id"], row["block_round"], result.get("kind")
    # Only these two interrupt the calls of an artifact with something else.
    under = {"kind": kind if kind == "pace" or "parts" in row else "latency"}
    yield _figure(row, name, "latency", BACK_TO_BACK, under, rounds_of(row))
    if "paced" in row:
        yield _at_pace(row, row["paced"], "paced", {}, "")
    if "loaded" in row:
        load = row["loaded"]
        beside, under = f", beside {load['neighbours']:d} busy", {"neighbours": load["neighbours"]}
        rounds = _by_round(load["samples_ns"], numbers)
        latency = {"ran": row["ran"], "latency_ms": load["latency_ms"]}
        yield _figure(latency, name, "loaded", BACK_TO_BACK + beside, under, rounds)
        if "paced" in load:
            yield _at_pace(row, load["paced"], "loaded paced", under, beside)
    if "sustained" in row:
        lasted = row["sustained"]
        window, minutes = lasted["window_s"], lasted["minutes"]
        due, latency_ns = _from_due(lasted["run"])
        last = latency_ns[due >= 1e9 * (60 * minutes - window)]
        how = f"last {window:.0f} s of {minutes:g} min"
        if lasted["neighbours"]:
            how += f", beside {lasted['neighbours']:d} busy"
        under = {"minutes": minutes, "neighbours": lasted["neighbours"], "fps": result["method"].get("fps")}
        latency = {"ran": row["ran"], "latency_ms": lasted["last"]}
        yield _figure(latency, name, "sustained", how, under, _by_round([last], [0]))


def _at_pace(
    row: dict[str, Any], paced: dict[str, Any], key: str, under: dict[str, Any], beside: str
) -> Measurement:
    """From the moments at which images were due: what an application waits, not what a call takes."""
    rounds = _by_round([_from_due(run)[1] for run in paced["runs"]], row["block_round"])
    latency = {"ran": row["ran"], "latency_ms": paced["latency_ms"]}
    how = f"{paced['fps']:g} a second{beside}"
    return _figure(latency, row["id"], key, how, under | {"fps": paced["fps"]}, rounds)


def _from_due(run: dict[str, Any]) -> tuple[Samples, Samples]:
    """When each served image was due, and its latency from then: nanoseconds."""
    end = np.array(run["end_ns"], np.int64)
    due = np.array(run["intended_ns"][: len(end)], np.int64)
    if end.shape != due.shape:
        raise ValueError("a run has more answers than images")
    return due, end - due


def _figure(
    row: dict[str, Any],
    artifact: Any,
    key: str,
    how: str,
    under: dict[str, Any],
    rounds: list[list[Samples]],
    images_per_s: float | None = None,
) -> Measurement:
    """Checked, so that whoever prints or compares it need not be."""
    ms, ran = row["latency_ms"], row["ran"]
    if not isinstance(artifact, str) or not isinstance(ran, dict) or not isinstance(ms["n"], int):
        raise TypeError("an artifact's id, ran or number of calls")
    json.dumps([ms, ran], allow_nan=False)  # both go on into the record of a comparison
    for name in ("p50", "p90", "p99"):
        _number(ms[name], "a latency")
        ends = ms.get(f"{name}_ci")
        if ends is not None:
            low, high = ends
            _number(low, f"{name}_ci")
            _number(high, f"{name}_ci")
    return Measurement(artifact, key, how, under, ms, ran, rounds, images_per_s)


def _number(value: Any, what: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, float | int) or not math.isfinite(value):
        raise TypeError(f"{what} is no number: {value!r}")
    return value


def _by_round(blocks: Sequence[Any], numbers: Sequence[int]) -> list[list[Samples]]:
    rounds: dict[int, list[Samples]] = {}
    for block, number in zip(blocks, numbers, strict=True):
        samples = np.array(block, np.int64)
        if samples.ndim != 1 or (samples <= 0).any():
            raise ValueError("a block holds something else than times")
        rounds.setdefault(int(number), []).append(samples)
    return list(rounds.values())
