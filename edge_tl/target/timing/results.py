"""Results that keep: where one is saved, which files are one, one machine's name. It must not measure or compare.

docs/bench.md has the keys. Nothing in a result tells whose machine it was: no host name, user or path.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from edge_tl.target.bundle import Bundle
from edge_tl.target.errors import BadInput
from edge_tl.target.files import read_json, write_json
from edge_tl.target.timing.bench import SCHEMA
from edge_tl.target.timing.calls import Samples

FOLDER = Path("benchmarks") / "results"
SAME = ("cpu", "arch", "os", "cores_allowed", "isa")  # two results of one machine agree in these
_AGAIN = "Run edge-tl bench on the bundle again, with -o or --save."


def labelled(result: dict[str, Any], bundle: Bundle) -> dict[str, Any]:
    """With the name of the bundle and the hashes of every artifact's files."""
    hashes = {a.id: [f["sha256"] for f in a.record["files"]] for a in bundle.artifacts}
    return result | {"name": bundle.record["name"], "bundle": hashes}


def machine_slug(machine: dict[str, Any]) -> str:
    """What stands for a machine in a path: CPU, cores allowed, system. Two machines of a kind share it."""
    words = f"{machine['cpu'] or machine['arch']} {machine['cores_allowed']} cores {machine['os']}"
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def save(result: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Write `folder/MACHINE/DATE-NAME.json` (and the folders), never over another; returns the path."""
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
        for row in result["artifacts"]:
            if not isinstance(row["id"], str) or not isinstance(row["ran"], dict):
                raise TypeError("an artifact's id or ran")
            if not all(
                isinstance(row["latency_ms"][key], float | int | None) for key in ("p50", "p90", "p99", "n")
            ):
                raise TypeError("a latency")
            rounds_of(row)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise BadInput(
            f"{path}: not as edge-tl bench writes it ({type(error).__name__}: {error}). {_AGAIN}"
        ) from None
    return result


def rounds_of(row: dict[str, Any]) -> list[list[Samples]]:
    """An artifact's raw blocks, round by round: nanoseconds. Raises `ValueError` where they do not fit."""
    rounds: dict[int, list[Samples]] = {}
    for block, number in zip(row["samples_ns"], row["block_round"], strict=True):
        samples = np.array(block, np.int64)
        if samples.ndim != 1 or (samples <= 0).any():
            raise ValueError("a block holds something else than times")
        rounds.setdefault(int(number), []).append(samples)
    return list(rounds.values())


def same_machine(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two `machine{}` are of one machine, as far as anonymous facts can tell."""
    return all(a.get(key) == b.get(key) for key in SAME)
