"""One model in a process of its own, timed on request; its one argument is the SPEC.

It prints one JSON line when it is warm (one before, where it waits with loading), then one for each line it is sent.
It ends with its standard input, in the middle of a run too. A line `{"count", "seconds"}` asks for a block,
`{"fps", "seconds"}` for a run at a rate. Compares nothing; `workers` starts it and reads what it prints.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter_ns
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from edge_tl.device import spawn
from edge_tl.device.bench.schedule import call_at_rate
from edge_tl.device.bench.timer import time_calls
from edge_tl.device.bench.worker_messages import Block, Imported, Ready
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.raw_pixels import PreprocessedOutside
from edge_tl.device.records.codec import Record
from edge_tl.device.records.timing import RanRecord
from edge_tl.device.runtimes.open import NullRuntime, Runtime, open_runtime, ran

# At least: ten calls of a small model are over before caches, clocks and threads have settled.
WARM_S = 0.3
# Dropped at the start of every later block, in calls and in seconds, because another process had the caches meanwhile.
REWARM, REWARM_S = 2, 0.005
GRACE_S = 0.5  # after the end of standard input, to end cleanly; a worker that is busy then is ended


def serve(
    open_it: Callable[[], Runtime],
    spec: dict[str, Any],
    describe: Callable[[Runtime, RanRecord], RanRecord] | None = None,
) -> None:
    """Open a runtime, say what the first call took, then time blocks on request until standard input ends.

    `spec` gives `shape` (of the input), `warmup` (calls), `describe` (say what ran; costs a second session) and `waits`
    (say that the libraries are imported, and load the model when a line comes).
    `describe` completes what ran. Everything that a library prints goes to stderr.
    """
    answers = spawn.private_stdout()
    requests = read_requests()
    if spec.get("waits"):
        _say(answers, Imported(spawn.dies_with_parent()))
        if next(requests, None) is None:
            return
    start = perf_counter_ns()
    runtime = open_it()
    load = perf_counter_ns() - start
    inputs = some_inputs(tuple(spec["shape"]), takes_pixels=spec.get("input") == "image")
    call, first = _prepared(runtime, inputs)
    warm = _warm(call, spec["warmup"], WARM_S)
    what = ran(runtime) if spec["describe"] else None
    ready = Ready(
        load_ns=load,
        first_ns=first,
        warmup_calls=len(warm),
        call_ns=int(np.median(warm)),
        dies_with_parent=spawn.dies_with_parent(),
        ran=describe(runtime, what) if what and describe else what,
    )
    _say(answers, ready)
    for number, asked in enumerate(requests):
        if number and asked.get("fps") is None:
            _warm(call, REWARM, REWARM_S)
        if "fps" in asked:
            _say(answers, call_at_rate(call, **asked))
        else:
            samples = time_calls(call, warmup=0, **asked)
            _say(answers, Block(tuple(samples.tolist())))
    # Nothing is left to do, and every process of a bench would spend time on taking its libraries down.
    sys.stderr.flush()
    os._exit(0)


def read_requests() -> Iterator[dict[str, Any]]:
    """The requests on standard input, line by line, until it ends.

    A thread reads it from now on, also while the model loads or runs: the parent may have been killed, and a run
    at a rate would go on for minutes beside whatever is measured next. The thread sleeps in the kernel, without the
    interpreter's lock, so it costs the timed code nothing.
    """
    lines: SimpleQueue[bytes | None] = SimpleQueue()
    over = threading.Event()

    def read() -> None:
        rest = b""
        # Not sys.stdin: its lock, held by a reader that waits, is a fatal error when the interpreter ends.
        with suppress(OSError):
            while part := os.read(0, 1 << 16):
                *whole, rest = (rest + part).split(b"\n")
                for line in whole:
                    lines.put(line)
        lines.put(None)
        if not over.wait(GRACE_S):
            os._exit(1)

    def asked() -> Iterator[dict[str, Any]]:
        while (line := lines.get()) is not None:
            yield json.loads(line)
        over.set()

    threading.Thread(target=read, daemon=True).start()
    return asked()


def some_inputs(shape: tuple[int, ...], *, takes_pixels: bool = False) -> NDArray[Any]:
    """Uniform in the range that normalized photographs have: no denormal numbers, no early exit. Of raw pixels any
    level."""
    if takes_pixels:
        return np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return np.random.default_rng(0).uniform(-2, 2, shape).astype(np.float32)


def _prepared(runtime: Runtime, inputs: NDArray[Any]) -> tuple[Callable[[], object], int]:
    """The call to be timed, and the nanoseconds of the first one."""
    start = perf_counter_ns()
    runtime(inputs)
    return lambda: runtime(inputs), perf_counter_ns() - start


def _warm(call: Callable[[], object], least: int, seconds: float) -> list[int]:
    """Call it `least` times and for `seconds`; the nanoseconds of each, which are no samples."""
    taken: list[int] = []
    stop = perf_counter_ns() + int(seconds * 1e9)
    while len(taken) < max(least, 1) or perf_counter_ns() < stop:
        start = perf_counter_ns()
        call()
        taken.append(perf_counter_ns() - start)
    return taken


def _say(answers: TextIO, record: Record) -> None:
    answers.write(json.dumps(record.to_json()) + "\n")
    answers.flush()


def main() -> None:
    """Serve the model that the command line names, with a `contract` behind the preprocessing; without a path, the null
    runtime."""
    spec = json.loads(sys.argv[1])

    def open_it() -> Runtime:
        if spec["path"] is None:
            return NullRuntime(1)
        runtime = open_runtime(
            Path(spec["path"]),
            device=spec["device"],
            threads=spec["threads"],
            allow_fallback=spec.get("allow_fallback", False),
            check=False,  # it infers: `ran` does it once the model is warm
        )
        if "contract" not in spec:
            return runtime
        return PreprocessedOutside(runtime, Preprocess.from_json(spec["contract"]))

    serve(open_it, spec)


if __name__ == "__main__":
    main()
