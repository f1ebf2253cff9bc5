"""Saved results: where one is saved, which files are one, and what in it can be compared. Measures nothing.

docs/reference/bench.md has the keys. Nothing in a result tells whose machine it was: no host name, user or path.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_tl.device.bench.schedule import latency_ns
from edge_tl.device.bench.timer import Samples
from edge_tl.device.bundle import Bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.files import read_json, write_json
from edge_tl.device.records.bench import SCHEMA, ArtifactTiming, BenchResult
from edge_tl.device.records.machine import MachineRecord
from edge_tl.device.records.paced import PacedRecord
from edge_tl.device.records.timing import LatencyRecord, RanRecord

FOLDER = Path("benchmarks") / "results"
BACK_TO_BACK = "back to back"
_AGAIN = "Run edge-tl bench on the bundle again, with -o or --save."


@dataclass(frozen=True)
class Circumstances:
    """What a measurement was made under; None where it says nothing about it. Two of one key are alike where all of
    this agrees: a latency at ten images a second is no measure of one at thirty."""

    kind: str | None = None
    minutes: float | None = None
    load: int | None = None
    fps: float | None = None
    batch: int | None = None


@dataclass(frozen=True)
class Measurement:
    """One thing that a result says of an artifact, with the raw times behind it.

    `key` is what it is called in every result, `how` the same in words. `rounds` are blocks of nanoseconds by process.
    """

    artifact: str
    key: str
    how: str
    under: Circumstances
    latency_ms: LatencyRecord
    ran: RanRecord
    rounds: list[list[Samples]]
    images_per_s: float | None = None

    @property
    def id(self) -> tuple[str, str]:
        """What finds it in another result."""
        return self.artifact, self.key


def with_bundle(result: BenchResult, bundle: Bundle) -> BenchResult:
    """With the name of the bundle and the hashes of every artifact's files."""
    hashes = {a.id: tuple(f.sha256 for f in a.record.files) for a in bundle.artifacts}
    return replace(result, name=bundle.record.name, bundle=hashes)


def machine_slug(machine: MachineRecord) -> str:
    """What stands for a machine in a path: CPU, cores allowed, system. Two machines of a kind share it."""
    words = f"{machine.cpu or machine.arch} {machine.cores_allowed} cores {machine.os}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def save_result(result: BenchResult, folder: Path = FOLDER) -> Path:
    """Write `folder/MACHINE/DATE-NAME-KIND.json` (and the folders), never over another; returns the path."""
    when = re.sub(r"[^0-9]", "", result.date.partition("+")[0])
    name = re.sub(r"[^\w.-]+", "-", f"{when[:8]}-{when[8:]}-{result.name or 'bench'}-{result.kind}")
    path = folder / machine_slug(result.machine) / f"{name}.json"
    number = 2
    while path.exists():
        path = path.with_name(f"{name}-{number}.json")
        number += 1
    write_json(path, result.to_json())
    return path


def read_result(path: Path) -> BenchResult:
    """A saved result. Raises `BadInput` in one line when the file is none, of another schema, or damaged."""
    if path.is_dir():
        raise BadInput(f"{path}: a folder, not a result of edge-tl bench. Give its .json files.")
    record = read_json(path)
    schema = record.get("schema")
    if not isinstance(schema, str) or not schema.startswith("edge-tl bench "):
        raise BadInput(f"{path}: no result of edge-tl bench. {_AGAIN}")
    if schema != SCHEMA:
        raise BadInput(f"{path}: schema {schema!r}, this edge-tl reads {SCHEMA!r}. {_AGAIN}")
    return BenchResult.from_json(record, str(path), newer_keys=True)


def rounds_of(blocks: Sequence[Sequence[int]], numbers: Sequence[int]) -> list[list[Samples]]:
    """Raw blocks of nanoseconds, round by round; `numbers` has the round of each block."""
    return _by_round([np.array(block, np.int64) for block in blocks], numbers)


def measurements(result: BenchResult) -> list[Measurement]:
    """All that can be compared between two results: each artifact's latency back to back, at its rate, beside load and
    at the end of a long run, every combination of a sweep, throughput.

    Of a long run it is the last window, in which the machine is as hot as it gets; it is one process, so one round.
    """
    found: list[Measurement] = []
    for row in result.artifacts:
        found += _of_artifact(result, row)
    for swept in result.sweep or ():
        threads = f", {swept.asked_threads} threads" if swept.asked_threads else ""
        how = f"batch {swept.batch}{threads}"
        rounds = rounds_of(swept.samples_ns, swept.block_round)
        found.append(
            Measurement(
                swept.artifact, f"sweep {how}", how, Circumstances(), swept.latency_ms, swept.ran, rounds
            )
        )
    for rates in result.throughput or ():
        # A rate has no latency: the time an image takes of each process stands for its calls.
        times = [[round(1e9 / rate)] for rate in rates.rounds]
        found.append(
            Measurement(
                rates.artifact,
                "throughput",
                "throughput",
                Circumstances(batch=rates.batch),
                LatencyRecord(n=len(times)),
                rates.ran,
                rounds_of(times, range(len(times))),
                rates.images_per_s,
            )
        )
    return found


def same_machine(a: MachineRecord, b: MachineRecord) -> bool:
    """Whether two results are of one machine, as far as anonymous facts can tell."""
    return all(getattr(a, key) == getattr(b, key) for key in ("cpu", "arch", "os", "cores_allowed", "isa"))


def _of_artifact(result: BenchResult, row: ArtifactTiming) -> Iterator[Measurement]:
    numbers, kind = row.block_round, result.kind
    # Only these two interrupt the calls of an artifact with something else.
    under = Circumstances(kind=kind if kind == "pace" or row.parts is not None else "latency")
    blocks = rounds_of(row.samples_ns, numbers)
    yield Measurement(row.id, "latency", BACK_TO_BACK, under, row.latency_ms, row.ran, blocks)
    if row.paced:
        yield _at_rate(row, row.paced, load=None)
    if row.loaded:
        load = row.loaded.load
        blocks = rounds_of(row.loaded.samples_ns, numbers)
        how, under = f"{BACK_TO_BACK}, beside {load} busy", Circumstances(load=load)
        yield Measurement(row.id, "loaded", how, under, row.loaded.latency_ms, row.ran, blocks)
        if row.loaded.paced:
            yield _at_rate(row, row.loaded.paced, load=load)
    if row.sustained:
        lasted = row.sustained
        due, latency = latency_ns(lasted.run)
        last = latency[due >= 1e9 * (60 * lasted.minutes - lasted.window_s)]
        how = f"last {lasted.window_s:.0f} s of {lasted.minutes:g} min"
        if lasted.load:
            how += f", beside {lasted.load} busy"
        under = Circumstances(minutes=lasted.minutes, load=lasted.load, fps=result.method.fps)
        yield Measurement(row.id, "sustained", how, under, lasted.last, row.ran, [[last]])


def _at_rate(row: ArtifactTiming, paced: PacedRecord, *, load: int | None) -> Measurement:
    """From the moments at which images were due: what an application waits, not what a call takes."""
    rounds = _by_round([latency_ns(run)[1] for run in paced.runs], row.block_round)
    how = f"{paced.fps:g} a second" + ("" if load is None else f", beside {load} busy")
    key = "paced" if load is None else "loaded paced"
    under = Circumstances(load=load, fps=paced.fps)
    return Measurement(row.id, key, how, under, paced.latency_ms, row.ran, rounds)


def _by_round(blocks: Sequence[Samples], numbers: Sequence[int]) -> list[list[Samples]]:
    rounds: dict[int, list[Samples]] = {}
    for block, number in zip(blocks, numbers, strict=True):
        rounds.setdefault(number, []).append(block)
    return list(rounds.values())
