"""Start, ask and end the processes that are timed. Computes nothing from what they answer."""

from __future__ import annotations

import itertools
import json
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from edge_tl.device import spawn
from edge_tl.device.bench.timer import Samples
from edge_tl.device.bench.worker_messages import Block, Ready
from edge_tl.device.errors import BundleError, EdgeTLError, FellBack, MissingExtra
from edge_tl.device.records.paced import PacedRun
from edge_tl.device.runtimes import sandbox

EXIT_S = 5.0  # that a process gets to end by itself
BLOCK_SECONDS = 20.0
WORKER = "edge_tl.device.bench.worker"
ADVICE = "Try `edge-tl verify` on the bundle."


@dataclass(frozen=True)
class Workload:
    """Something to time: a module that serves blocks (see `worker.serve`), and what to tell it; with `slow_start` it
    imports for seconds, and processes of several rounds do so at once."""

    id: str
    module: str
    spec: dict[str, Any]
    slow_start: bool = False


class Worker:
    """A live process of one workload. Between blocks it is stopped where that is safe, and uses no processor:
    waiting for its standard input alone, ONNX Runtime's threads would spin for some 80 ms after a call, and whichever
    is timed next would take twice as long until they stop."""

    def __init__(self, workload: Workload, *, warmup: int, describe: bool, waits: bool = False) -> None:
        self.workload = workload
        _check_sandboxed(workload)
        self._stops = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - a pipe that is never read would block the worker
        spec = workload.spec | {"warmup": warmup, "describe": describe, "waits": waits}
        command = spawn.command(workload.module, json.dumps(spec))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._stderr, text=True
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def answer(self) -> dict[str, Any]:
        """The next line. Raises `MissingExtra`, `FellBack` or `EdgeTLError` when the process ended instead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            record = json.loads(line)
        except ValueError:
            raise self._death() from None
        if not isinstance(record, dict):
            raise self._death()
        self._stops = record.get("dies_with_parent", self._stops)
        if self._stops:
            self._process.send_signal(signal.SIGSTOP)
        return record

    def ask(self, **question: Any) -> dict[str, Any]:
        """Send one line and read one."""
        assert self._process.stdin is not None
        self._go_on()
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        except OSError:
            raise self._death() from None
        return self.answer()

    def end(self) -> None:
        """Let it finish; kill it if it does not."""
        try:
            self._go_on()
            if self._process.stdin:
                with suppress(OSError):
                    self._process.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_S)
        finally:
            self.kill()

    def kill(self) -> None:
        """End it now, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._stderr):
            if stream:
                with suppress(OSError):
                    stream.close()

    def _go_on(self) -> None:
        if self._stops:
            self._process.send_signal(signal.SIGCONT)

    def _death(self) -> EdgeTLError:
        name = self.workload.id
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(EXIT_S)
        code = self._process.poll()
        self._stderr.seek(0)
        lines = self._stderr.read().decode("utf-8", "replace").strip().splitlines()
        if code == 0 or code is None:
            return EdgeTLError(f"bench: {name} printed no result. {ADVICE}")
        last = lines[-1] if lines else f"exit code {code}"
        if not (own := re.match(r"edge_tl\.device\.errors\.(\w+): (.*)", last)):
            return EdgeTLError(f"bench: {name} could not run: {last.rstrip('. ')}. {ADVICE}")
        kind, message = own.groups()
        if kind == "MissingExtra" and (
            extra := re.match(r"(.+) is not installed\..*edge-tl\[(.+)\]", message)
        ):
            return MissingExtra(*extra.groups())
        if kind == "FellBack":
            asked, _, why = message.removeprefix("--device ").partition(": ")
            return FellBack(asked, f"{name}: {why.removesuffix(FellBack.ADVICE)}")
        return EdgeTLError(f"bench: {name} could not run: {message}")  # which ends in what to do


def _check_sandboxed(workload: Workload) -> None:
    """A model that came from elsewhere runs within limits once before it is timed without them."""
    spec = workload.spec
    if not spec.get("path"):
        return
    height, width = spec.get("size") or spec["shape"][-2:]
    try:
        sandbox.smoke_test(Path(spec["path"]), spec.get("device", "CPU"), (height, width))
    except BundleError as error:
        raise EdgeTLError(f"bench: {workload.id} could not run: {error}") from None


def time_block(worker: Worker, count: int) -> Samples:
    """The nanoseconds of `count` calls, or of as many as 20 s take."""
    return np.array(Block.from_json(worker.ask(count=count, seconds=BLOCK_SECONDS)).samples_ns, np.int64)


def run_at_rate(
    worker: Worker, fps: float | None, seconds: float, deadline_ms: float | None, kept: int | None = None
) -> PacedRun:
    """A run of `schedule.call_at_rate` in the worker; `kept` is how many moments it stores, None as many as usual."""
    more = {} if kept is None else {"kept": kept}
    return PacedRun.from_json(worker.ask(fps=fps, seconds=seconds, deadline_ms=deadline_ms, **more))


class WorkerPool:
    """Live processes of one round, ended together: as a context manager, also when one of them fails."""

    def __init__(self) -> None:
        self.alive: dict[str, Worker] = {}

    def start(self, workload: Workload, *, warmup: int, describe: bool = False) -> Ready:
        """Start one, wait until it is warm, and return its answer."""
        return self._warmed(Worker(workload, warmup=warmup, describe=describe))

    def go_on(self, worker: Worker) -> Ready:
        """Let one that waited load its model; wait until it is warm, and return its answer."""
        return self._warmed(worker, waited=True)

    def _warmed(self, worker: Worker, *, waited: bool = False) -> Ready:
        self.alive[worker.workload.id] = worker
        try:
            return Ready.from_json(worker.ask() if waited else worker.answer())
        except BaseException:
            self.alive.pop(worker.workload.id).kill()
            raise

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _each(self.alive.values(), gently=error is None)


def launch(
    counts: Mapping[str, tuple[Workload, int]], *, warmup: int, describe: bool
) -> dict[str, list[Worker]]:
    """So many processes of each workload, by its id, which import at the same time and then wait for
    `WorkerPool.go_on`; only the first of each describes what ran. A workload of which one fails has none: started
    alone, it says why."""
    started: dict[str, list[Worker]] = {}
    try:
        for name, (workload, count) in counts.items():
            workers = started[name] = []
            with _none_of(started, name):
                for number in range(count):
                    first = describe and number == 0
                    workers.append(Worker(workload, warmup=warmup, describe=first, waits=True))
        for name, workers in list(started.items()):
            with _none_of(started, name):
                for worker in workers:
                    worker.answer()
    except BaseException:
        kill(itertools.chain(*started.values()))
        raise
    return started


@contextmanager
def _none_of(started: dict[str, list[Worker]], name: str) -> Iterator[None]:
    try:
        yield
    except EdgeTLError:
        kill(started.pop(name))


def kill(workers: Iterable[Worker]) -> None:
    """End them now, whatever they do."""
    for worker in workers:
        worker.kill()


def reason(error: EdgeTLError) -> str:
    """Why a process ended, for a list that names it beside: without the name, and without folders, because what was
    skipped travels in results."""
    text = re.sub(r"^bench: .*? could not run: ", "", str(error)).removesuffix(f" {ADVICE}")
    return re.sub(r"(?<![\w./])(/[^\s/\"':]+)+/", "", text)


def _each(pool: Iterable[Worker], *, gently: bool) -> None:
    """End every one, whatever happens to the others."""
    failure: BaseException | None = None
    for worker in pool:
        try:
            worker.end() if gently else worker.kill()
        except BaseException as error:
            failure = error
            worker.kill()
    if failure:
        raise failure
