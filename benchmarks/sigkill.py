"""Kill a fine-tuning at random moments, resume it, and compare its weights with an uninterrupted run's, byte for byte.

    python benchmarks/sigkill.py [--kills 100]

Needs nothing but the package: handwritten digits and the embedded backbone. Each round starts the run anew, kills it at
a moment drawn evenly from the uninterrupted run's duration, and resumes it to its end (each run is a forked
process of its own). Writes results/sigkill.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from edge_tl.device.files import sha256_file, write_json
from edge_tl.device.machine import identity
from edge_tl.host.demo import write_digits
from edge_tl.host.recipe.load import parse
from edge_tl.host.runs import checkpoint
from edge_tl.host.runs.record import WEIGHTS
from edge_tl.host.training import resume
from edge_tl.host.training.finetune import finetune

RESULT = Path(__file__).parent / "results" / "sigkill.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--strategy", default="gradual")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        recipe = parse(
            {
                "data": {"path": str(_images(folder))},
                "model": {"name": "mobilenet_v3_small", "weights": "embedded", "image_size": 32},
                "train": {
                    "strategy": options.strategy,
                    "epochs": 3,
                    "batch_size": 16,
                    "checkpoint_seconds": 0.1,
                    "workers": 0,
                },
                "augment": {"preset": "medium"},
            }
        )
        start = time.perf_counter()
        assert _run(recipe, folder / "whole", resumed=False) == 0
        duration = time.perf_counter() - start
        expected = _digests(folder / "whole")
        moments, where, same = random.Random(0), Counter[str](), 0
        for number in range(options.kills):
            run = folder / "killed" / "run"
            shutil.rmtree(run.parent, ignore_errors=True)
            code = _run(recipe, run, resumed=False, kill_after=moments.uniform(0, duration))
            where[_reached(run) if code == -signal.SIGKILL else "the run had ended"] += 1
            assert _run(recipe, run, resumed=True) == 0, "the resumed run failed"
            same += _digests(run) == expected
            print(f"{number + 1}: {same} identical; killed with {dict(where)}", flush=True)
            result = {
                "kills": number + 1,
                "identical": same,
                "killed_with": dict(where),
                "seconds_uninterrupted": duration,
                "strategy": options.strategy,
                "machine": identity().to_json(),
            }
            write_json(RESULT, result)  # every round: a benchmark cut short keeps what it measured
    print(json.dumps({k: v for k, v in result.items() if k != "machine"}, indent=1))
    sys.exit(0 if same == options.kills else 1)


def _images(folder: Path) -> Path:
    digits = write_digits(folder / "digits")
    for label in range(3):
        for path in sorted((digits / str(label)).iterdir())[:40]:
            target = folder / "images" / str(label) / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return folder / "images"


def _run(recipe, out: Path, *, resumed: bool, kill_after: float | None = None) -> int:
    """Fine-tune in a forked process; its exit code, negative when a signal ended it."""
    child = os.fork()
    if child == 0:
        try:
            finetune(recipe, out, resumed=resumed)
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _digests(run: Path) -> list[str]:
    return [sha256_file(run / name) for name in (WEIGHTS, resume.LAST)]


def _reached(run: Path) -> str:
    """How far the killed run had come, from what it left."""
    if (run / checkpoint.RECORD).is_file():
        return "everything written"
    if (steps := resume.steps_done(run / checkpoint.STATE)) is not None:
        return "a checkpoint of the first half" if steps < 8 else "a checkpoint of the second half"
    return "features only" if (run / "features").is_dir() else "nothing"


if __name__ == "__main__":
    main()
