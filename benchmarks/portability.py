"""INT8 on every CPU: what each artifact of a bundle loses of PyTorch's accuracy under lesser instruction sets.

    python benchmarks/portability.py CACHE NAME=RUN,BUNDLE [NAME=RUN,BUNDLE ...] [--arm CACHE]

Each answer is computed in a process of its own, by the runtimes' own kernels: with oneDNN's cap, on a CPU that
lesser_cpu.py makes of this one, under `qemu-x86_64` and, with --arm (see tests/arm_walk.sh), `qemu-aarch64`; ONNX
Runtime also with its defaults alone, as whoever opens the file without edge-tl. What an artifact `requires` and a CPU
lacks, `edge-tl predict` must refuse there. BUNDLE may be a folder with model.int8.onnx and .xml, of an export that was
ended; the result says so. CACHE keeps answers, so a run that was ended goes on. Models that were measured before and
are not given stay. Writes results/portability.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lesser_cpu import LEVELS, emulated, environment

from edge_tl.device import metrics
from edge_tl.device.bundle import RECORD, read_bundle
from edge_tl.device.files import read_json, write_json
from edge_tl.device.machine import CAP_VARIABLE, current_load, identity
from edge_tl.device.records.artifact import ArtifactRecord
from edge_tl.host.export import image_sets
from edge_tl.host.models.reference import TorchRuntime
from edge_tl.host.runs import checkpoint

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "portability.json"
MAX_DROP = 0.5
LESSER = ("avx512", "avx2", "sse42")
ISAS = ("native", *LESSER, "arm")
CAPS = {"AVX512_CORE": "avx512", "AVX2": "avx2", "SSE41": "sse42"}


@dataclass(frozen=True)
class Cell:
    """A CPU and how it is had: `command` starts Python on it, with the variables `env`, for as many `images` at most.
    It says nothing of runtimes that are not in `runtimes`."""

    isa: str
    how: str
    command: tuple[str, ...]
    env: dict[str, str]
    images: int
    runtimes: tuple[str, ...] = ("onnxruntime", "openvino")


@dataclass(frozen=True)
class Int8File:
    """An INT8 artifact, or what an export that was ended left of one: then `record` and `bundle` are None."""

    id: str
    runtime: str
    path: Path
    digests: list[str]
    record: ArtifactRecord | None = None
    bundle: Path | None = None


@dataclass(frozen=True)
class Images:
    """In the file `path`, their classes `(n,)` and PyTorch's logits `(n, classes)`."""

    path: Path
    labels: Any
    reference: Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("models", nargs="+", metavar="NAME=RUN,BUNDLE")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="one with both runtimes")
    parser.add_argument("--images", type=int, default=2000, help="most of a model's evaluation images")
    parser.add_argument("--emulated", type=int, default=200, help="most of them under qemu")
    parser.add_argument("--cells", nargs="+", default=[*ISAS], choices=ISAS, help="these alone")
    parser.add_argument("--arm", type=Path, help="filled by tests/arm_walk.sh; adds emulated 64-bit Arm")
    options = parser.parse_args()
    options.cache = options.cache.resolve()
    before = current_load().to_json()
    old = {each["name"]: each for each in read_json(RESULT)["models"]} if RESULT.is_file() else {}
    for text in options.models:
        name, _, paths = text.partition("=")
        run, _, bundle = paths.partition(",")
        found = measured(name, Path(run), Path(bundle), options)
        old[name] = found | {"machine": identity().to_json(), "emulators": _emulators(options.arm)}
        facts = {"max_drop": MAX_DROP, "before": before, "after": current_load().to_json()}
        write_json(RESULT, {"models": list(old.values()), "conditions": facts})


def int8_files(folder: Path) -> list[Int8File]:
    """Those of a bundle, or of a folder that is none."""
    if (folder / RECORD).is_file():
        bundle = read_bundle(folder)
        return [
            Int8File(a.id, a.runtime, a.path, [f.sha256 for f in a.record.files], a.record, folder)
            for a in bundle.artifacts
            if a.precision == "int8"
        ]
    found = []
    for kind, runtime, suffixes in (
        ("onnx", "onnxruntime", ["onnx"]),
        ("openvino", "openvino", ["xml", "bin"]),
    ):
        files = [folder / f"model.int8.{suffix}" for suffix in suffixes]
        digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
        found.append(Int8File(f"{kind}-int8", runtime, files[0], digests))
    return found


def measured(name: str, run: Path, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One bundle: every INT8 artifact in every cell, ONNX Runtime's also with its defaults."""
    images = prepared(run, options.cache / name, options.images)
    record = checkpoint.read_run(run)
    wanted = [
        (artifact, how)
        for artifact in int8_files(folder)
        for how in (("edge-tl", "plain") if artifact.runtime == "onnxruntime" else ("edge-tl",))
    ]
    rows: dict[str, list[dict[str, Any]]] = {artifact.id: [] for artifact, _ in wanted}
    first: dict[tuple[str, ...], Any] = {}  # logits, of this CPU and of the first way to have each other one
    for cell in (each for each in cells(options) if each.isa in options.cells):
        here = [(artifact, how) for artifact, how in wanted if artifact.runtime in cell.runtimes]
        for (artifact, how), (logits, facts) in zip(
            here, answered(here, cell, images, options.cache / name), strict=True
        ):
            row = judged(artifact, how, cell) | facts
            if "fault" not in facts:
                native = first.get((artifact.id, how, "native"), logits if cell.isa == "native" else None)
                other = first.setdefault((artifact.id, how, cell.isa), logits)
                row |= figures(images, logits, native)
                row["off_first_way"] = metrics.max_abs_diff(other[: len(logits)], logits)
            row["passed"] = row.get("drop_pp", 100.0) <= MAX_DROP or "refusal" in row
            rows[artifact.id].append(row)
            _say(name, artifact.id, row)
    return {
        "name": name,
        "model": record.model,
        "input_size": list(record.preprocess.input_size),
        "export_finished": all(artifact.record is not None for artifact, _ in wanted),
        "reference": {
            "accuracy": metrics.accuracy(images.labels, metrics.top1(images.reference)),
            "n": len(images.labels),
        },
        "artifacts": [
            {
                "id": artifact.id,
                "requires": list(artifact.record.requires) if artifact.record else [],
                "passed_export": artifact.record.passed if artifact.record else None,
                "cells": rows[artifact.id],
            }
            for artifact, how in wanted
            if how == "edge-tl"
        ],
    }


def prepared(run: Path, cache: Path, most: int) -> Images:
    """The evaluation images of a run, in proportion to the classes, and PyTorch's answers to them."""
    cache.mkdir(parents=True, exist_ok=True)
    path, answers = cache / f"inputs-{most}.npy", cache / f"reference-{most}.npz"
    if not answers.is_file():
        model, record = checkpoint.load_run(run)
        dataset = record.dataset()
        _, samples = image_sets.evaluation_set(dataset)
        samples = image_sets.in_proportion(samples, record.provenance.seed)[:most]
        inputs = image_sets.inputs(record.preprocess, dataset, samples, path)
        runtime = TorchRuntime(model, threads=1)
        logits = np.concatenate([runtime(np.array(inputs[i : i + 16])) for i in range(0, len(inputs), 16)])
        np.savez(answers, labels=np.array([sample.label for sample in samples], np.int64), logits=logits)
    with np.load(answers) as found:
        return Images(path, found["labels"], found["logits"])


def cells(options: argparse.Namespace) -> Iterator[Cell]:
    """This CPU first, then the lesser ones."""
    python, here = str(options.python), os.environ | {"PYTHONPATH": str(ROOT)}
    yield Cell("native", "this CPU", (python,), here, options.images)
    for isa in LESSER:
        env = here | environment(isa, options.cache, options.python, str(ROOT))
        yield Cell(isa, "CPUID answered", (python,), env, options.images)
    for cap, isa in CAPS.items():
        env = here | {CAP_VARIABLE: cap}
        yield Cell(isa, f"oneDNN {cap}", (python,), env, options.images, ("openvino",))
    for isa in LESSER:
        if cpu := LEVELS[isa].qemu:
            command = emulated(isa, options.cache, options.python)
            yield Cell(isa, f"qemu {cpu}", command, here, options.emulated, ("onnxruntime",))
    if options.arm:
        emulator = str(options.arm.resolve() / "root" / "usr" / "bin" / "python")
        env = here | {"PYTHONPATH": f"{ROOT}{os.pathsep}{options.arm.resolve() / 'site'}"}
        yield Cell("arm", "qemu cortex-a76", (emulator, "-s"), env, options.emulated)


def answered(
    wanted: Sequence[tuple[Int8File, str]], cell: Cell, images: Images, cache: Path
) -> list[tuple[Any, dict[str, Any]]]:
    """Logits and what the worker tells beside them, of each artifact and how it is opened; kept in `cache`."""
    worker = [*cell.command, str(ROOT / "benchmarks" / "portability_worker.py")]
    kept, words = [], []
    for artifact, how in wanted:
        key = [artifact.digests, how, cell.isa, cell.how]
        key += [
            cell.images,
            len(images.labels),
            metrics.accuracy(images.labels, metrics.top1(images.reference)),
        ]
        kept.append(cache / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.npz")
        if not kept[-1].is_file():
            words += [str(artifact.path.resolve()), str(kept[-1]), how]
    if words:
        command = [*worker, str(images.path), str(cell.images), *words]
        done = subprocess.run(command, env=cell.env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{cell.isa} ({cell.how}) ended with {done.returncode}: {done.stderr[-2000:]}")
    found = []
    for path in kept:
        with np.load(path) as content:
            found.append((content["logits"], json.loads(str(content["facts"]))))
    return found


def figures(images: Images, logits: Any, native: Any) -> dict[str, Any]:
    """What `logits` lose of PyTorch's on the same images, and how far they are off this CPU's own."""
    n = len(logits)
    labels, expected = images.labels[:n], metrics.top1(images.reference[:n])
    answers = metrics.top1(logits)
    drop = metrics.paired_drop(labels, expected, answers)
    return {
        "n": n,
        "accuracy": metrics.accuracy(labels, answers),
        "drop_pp": drop.drop_pp,
        "drop_ci_pp": list(drop.drop_ci_pp),
        "agreement": metrics.agreement(expected, answers),
        "off_native": None if native is None else metrics.max_abs_diff(native[:n], logits),
    }


def judged(artifact: Int8File, how: str, cell: Cell) -> dict[str, Any]:
    """What the cell is, and what edge-tl says there of an artifact that requires what the CPU has not."""
    row: dict[str, Any] = {"isa": cell.isa, "by": cell.how, "opened": how}
    needed = artifact.record is not None and artifact.record.requires
    if needed and how == "edge-tl" and (refusal := refused(artifact, cell)):
        row["refusal"] = refusal
    return row


def refused(artifact: Int8File, cell: Cell) -> dict[str, Any] | None:
    """What `edge-tl predict` says on that CPU to who asks for the artifact, and what it takes when nobody does; None
    where it does not refuse."""
    assert artifact.bundle is not None
    image = next((artifact.bundle / "golden").rglob("*.[pj][np]g"))
    predict = [*cell.command, "-m", "edge_tl", "predict", str(artifact.bundle), str(image), "--json"]
    run = {"env": cell.env, "capture_output": True, "text": True, "check": False}
    asked = subprocess.run([*predict, "--artifact", artifact.id], **run)  # type: ignore[call-overload]
    if asked.returncode != 2 or "requires" not in asked.stderr:
        return None
    free = subprocess.run(predict, **run)  # type: ignore[call-overload]
    taken = json.loads(free.stdout)["artifact"] if free.returncode == 0 else None
    return {"said": asked.stderr.strip(), "taken_instead": taken, "note": free.stderr.strip()}


def _emulators(arm: Path | None) -> list[str]:
    names = ["qemu-x86_64-static", *(["qemu-aarch64-static"] if arm else [])]
    shown = [
        subprocess.run([name, "--version"], capture_output=True, text=True, check=True) for name in names
    ]
    return [one.stdout.splitlines()[0] for one in shown]


def _say(name: str, artifact: str, row: dict[str, Any]) -> None:
    verdict = "pass" if row["passed"] else "FAIL"
    what = (
        row.get("fault")
        or f"{100 * row['accuracy']:.2f} % of {row['n']}, drop {row['drop_pp']:.2f} pp, "
        f"{row['off_first_way']:.2g} off the first way"
    )
    refusal = ", refused" if "refusal" in row else ""
    print(
        f"{verdict} {name} {artifact} {row['isa']} ({row['by']}, {row['opened']}): {what}{refusal}",
        flush=True,
    )


if __name__ == "__main__":
    main()
