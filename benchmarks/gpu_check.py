"""Everything that runs on a GPU, once, in under ten minutes: `make gpu-check`, in a checkout on a machine with one.

    python benchmarks/gpu_check.py [--device gpu|cpu] [--only NAMES] [--patience TIMES] [--out FILE]

Needs nothing but the package: handwritten digits and the embedded backbone. Fine-tunes with a kill and a resume, keeps
and augments pixels on the GPU, computes features there, trains in INT8, verifies and benches with CUDA, replays a CUDA
graph, runs TensorRT where ONNX Runtime has it, and two processes where two GPUs are. Each check is a process of its own
with a limit of time; what cannot be tried says why. Writes results/gpu-NAME.json. Exit code: 0 all passed or skipped,
1 one failed or did not finish, 2 no GPU. `--device cpu` runs the same checks without one, so that the script itself is
known to work; `--patience 3` gives a slow or busy machine three times the limits.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from typing import Any

import gpu_checks as checks
from gpu_checks import Place, Skipped

from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity

RESULTS = Path(__file__).parent / "results"
CHECKS: dict[str, Callable[[Place], dict[str, Any]]] = {
    "resume": checks.resume,
    "pixels": checks.pixels,
    "features": checks.features,
    "int8": checks.int8,
    "verify": checks.verify,
    "bench": checks.bench,
    "cuda_graph": checks.cuda_graph,
    "tensorrt": checks.tensorrt,
    "ranks": checks.ranks,
}
LIMITS = {
    "resume": 120,
    "pixels": 40,
    "features": 60,
    "int8": 140,
    "verify": 40,
    "bench": 60,
    "cuda_graph": 20,
    "tensorrt": 50,
    "ranks": 50,
}
"""Seconds for each check; ten minutes for all, less a little."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", help="Names of checks, with commas.")
    parser.add_argument(
        "--patience", type=float, default=1.0, help="What the time limits are multiplied with."
    )
    parser.add_argument("--child", nargs=2, metavar=("CHECK", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # of every process below, too
    if options.child:
        key, folder = options.child
        print(json.dumps(_checked(CHECKS[key], _place(Path(folder)))))
        return
    import torch

    from edge_tl.host import accelerator

    where = accelerator.device()
    if options.device == "gpu" and where.type == "cpu":
        sys.stderr.write(
            f"no GPU: PyTorch {torch.__version__} sees none here. Run this where one is, or check the script itself "
            "with --device cpu.\n"
        )
        sys.exit(2)
    name = accelerator.name(where)
    called = "selfcheck-cpu" if where.type == "cpu" else re.sub("[^a-z0-9]+", "-", name.lower())
    out = options.out or RESULTS / f"gpu-{called}.json"
    wanted = set((options.only or ",".join(CHECKS)).split(","))
    result: dict[str, Any] = {
        "device": name,
        "torch": torch.__version__,
        "cuda": torch.version.cuda if where.type == "cuda" else None,
        "machine": identity().to_json(),
        "conditions": current_load().to_json(),
        "checks": {},
    }
    with tempfile.TemporaryDirectory() as scratch:
        _digits(Path(scratch) / "images")
        for key in (key for key in CHECKS if key in wanted):
            command_line = [sys.executable, __file__, "--device", options.device, "--child", key, scratch]
            result["checks"][key] = entry = _bounded(command_line, options.patience * LIMITS[key])
            write_json(out, result)  # after each: a check that is cut short keeps what it found
            print(f"{key}: {entry['state']}, {entry['seconds']:.0f} s. {entry.get('reason', '')}", flush=True)
    states = ("failed", "unfinished")
    bad = [f"{key} {e['state']}" for key, e in result["checks"].items() if e["state"] in states]
    print(f"{out}: {', '.join(bad) if bad else 'everything that could be tried passed'}")
    sys.exit(1 if bad else 0)


def _place(folder: Path) -> Place:
    import torch

    from edge_tl.host import accelerator

    kind = accelerator.device().type
    cuda = kind == "cuda"
    return Place(folder, kind, "CUDA" if cuda else "CPU", torch.cuda.device_count() if cuda else 0)


def _bounded(command_line: list[str], seconds: float) -> dict[str, Any]:
    """One check in a process of its own; beyond `seconds` it is ended with all that it started."""
    start = perf_counter()
    with subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
            entry: dict[str, Any] = json.loads(said.splitlines()[-1])
        except subprocess.TimeoutExpired:
            entry = {"state": "unfinished", "reason": f"not done within {seconds:.0f} s"}
        except (ValueError, IndexError):
            entry = {"state": "failed", "reason": f"its process ended with {process.returncode}"}
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return entry | {"seconds": perf_counter() - start}


def _checked(check: Callable[[Place], dict[str, Any]], place: Place) -> dict[str, Any]:
    try:
        return {"state": "passed", **check(place)}
    except Skipped as why:
        return {"state": "skipped", "reason": str(why)}
    except (Exception, SystemExit) as error:  # the next check is another matter
        return {"state": "failed", "reason": f"{type(error).__name__}: {error}"[:600]}


def _digits(folder: Path) -> None:
    from edge_tl.host.demo import write_digits

    digits = write_digits(folder.with_name("digits"))
    for label in range(3):
        for path in sorted((digits / str(label)).iterdir())[:60]:
            target = folder / str(label) / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)


if __name__ == "__main__":
    main()
