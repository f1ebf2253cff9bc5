"""One artifact's steps in a fresh process, whose one argument is the SPEC; it prints one JSON object.

Cold start first (import, read, compile, first inference), then each step from encoded image to label, then memory; or,
with `throughput_s`, as many images a second as the runtime's own streams give. Compares nothing.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, perf_counter_ns
from typing import Any

from edge_tl.device import spawn
from edge_tl.device.bench.worker import some_inputs
from edge_tl.device.bench.worker_messages import ModelJob, StepsJob, ThroughputJob
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.machine import openvino_core
from edge_tl.device.records.bench import MemoryRecord, StepSamples, StreamsRecord
from edge_tl.device.records.codec import Record
from edge_tl.device.records.timing import RanRecord
from edge_tl.device.runtimes import onnxruntime_, openvino_
from edge_tl.device.runtimes.open import Runtime, import_runtime, open_runtime, ran


@dataclass(frozen=True)
class StepsAnswer(Record):
    """Nanoseconds of a cold start (`read_ns` is None where the runtime reads and compiles in one) and of each step,
    image by image; MiB; what ran."""

    document = "answer of a worker"
    advice = "run edge-tl bench again"
    error = EdgeTLError

    import_ns: int
    read_ns: int | None
    compile_ns: int
    first_ns: int
    steps: StepSamples
    memory_mb: MemoryRecord
    ran: RanRecord


@dataclass(frozen=True)
class ThroughputAnswer(Record):
    """How many images in how many seconds, and what ran."""

    document = "answer of a worker"
    advice = "run edge-tl bench again"
    error = EdgeTLError

    images: int
    seconds: float
    ran: StreamsRecord


@dataclass
class Loaded:
    """A runtime that has answered once, and how long that took."""

    runtime: Runtime
    import_ns: int
    read_ns: int | None
    compile_ns: int
    first_ns: int


def main() -> None:
    """Measure what the command line asks for."""
    answers = spawn.private_stdout()
    spec = json.loads(sys.argv[1])
    # A workload's SPEC holds more than these need.
    if "throughput_s" in spec:
        result: Record = run_throughput(ThroughputJob.from_json(spec, newer_keys=True))
    else:
        result = run_steps(StepsJob.from_json(spec, newer_keys=True))
    answers.write(json.dumps(result.to_json()) + "\n")
    answers.flush()


def run_steps(job: StepsJob) -> StepsAnswer:
    """The cold start, then each step: `decode` (bytes to RGB), `preprocess` (resize, crop, normalize: what the whole
    contract takes less decoding), `inference`, `postprocess` (softmax, best five) and `whole`, timed as one."""
    start = resident_mb("VmRSS")
    loaded = _cold_start(job)
    after = resident_mb("VmRSS")
    steps = _steps(loaded.runtime, job)
    return StepsAnswer(
        import_ns=loaded.import_ns,
        read_ns=loaded.read_ns,
        compile_ns=loaded.compile_ns,
        first_ns=loaded.first_ns,
        steps=steps,
        memory_mb=MemoryRecord(start=start, loaded=after, peak=resident_mb("VmHWM")),
        ran=ran(loaded.runtime),
    )


def _cold_start(job: ModelJob) -> Loaded:
    path = Path(job.path)
    start = perf_counter_ns()
    library = import_runtime(path.suffix)
    imported = perf_counter_ns() - start
    read = None
    if library.__name__ == "openvino":
        core = openvino_core()
        start = perf_counter_ns()
        with suppress(RuntimeError):  # opening it says why in a sentence
            core.read_model(path)
        read = perf_counter_ns() - start
    start = perf_counter_ns()
    runtime = open_runtime(
        path,
        device=job.device,
        threads=job.threads,
        allow_fallback=job.allow_fallback,
        check=False,
    )
    opened = perf_counter_ns() - start
    inputs = some_inputs(job.shape, takes_pixels=job.input == "image")
    start = perf_counter_ns()
    runtime(inputs)
    first = perf_counter_ns() - start
    return Loaded(runtime, imported, read, opened - (read or 0), first)


def _steps(runtime: Runtime, job: StepsJob) -> StepSamples:
    from edge_tl.device.bundle import read_bundle
    from edge_tl.device.images.decode import decode
    from edge_tl.device.metrics import softmax
    from edge_tl.device.raw_pixels import raw_pixels

    bundle, takes_pixels = read_bundle(Path(job.bundle)), job.input == "image"
    images = [image.read_bytes() for image in bundle.golden_images()]
    framed = [None if takes_pixels else bundle.preprocess.pixels(image) for image in images]

    def given(image: bytes) -> Any:
        return raw_pixels(bundle.preprocess, image) if takes_pixels else bundle.preprocess.apply(image)[None]

    def best(answer: Any) -> list[tuple[str, float]]:
        chances = answer[0] if takes_pixels else softmax(answer[0])
        return [(bundle.labels[i], float(chances[i])) for i in chances.argsort()[::-1][:5]]

    def timed(call: Callable[[], Any]) -> tuple[Any, int]:
        begin = perf_counter_ns()
        value = call()
        return value, perf_counter_ns() - begin

    rows: list[tuple[int, int, int, int, int, int]] = []
    for repeat in range(job.warm + job.repeats):
        for image, seen in zip(images, framed, strict=True):
            _, decoding = timed(lambda: decode(image))  # noqa: B023 - called at once
            pixels, applied = timed(lambda: given(image))  # noqa: B023
            _, normalizing = (None, 0) if seen is None else timed(lambda: bundle.preprocess.normalize(seen))  # noqa: B023
            logits, inference = timed(lambda: runtime(pixels))  # noqa: B023
            _, after = timed(lambda: best(logits))  # noqa: B023
            _, whole = timed(lambda: best(runtime(given(image))))  # noqa: B023
            if repeat >= job.warm:
                rows.append((decoding, max(applied - decoding, 1), inference, after, whole, normalizing))
    decode_ns, preprocess_ns, inference_ns, postprocess_ns, whole_ns, normalize_ns = zip(*rows, strict=True)
    return StepSamples(
        decode=decode_ns,
        preprocess=preprocess_ns,
        inference=inference_ns,
        postprocess=postprocess_ns,
        whole=whole_ns,
        normalize=None if takes_pixels else normalize_ns,
    )


def run_throughput(job: ThroughputJob) -> ThroughputAnswer:
    """As many images as the runtime's own parallelism takes in `throughput_s` seconds.

    OpenVINO: its THROUGHPUT hint and an `AsyncInferQueue` of the size it asks for. ONNX Runtime has no streams: one
    session with one thread per operator, called from as many threads as there are cores allowed. Devices follow the
    same rules as where latency is timed. Raises `FellBack`, before anything is timed.
    """
    path = Path(job.path)
    inputs = some_inputs(job.shape, takes_pixels=job.input == "image")
    threads, seconds = job.threads, job.throughput_s
    if path.suffix == ".onnx":
        session = onnxruntime_.OnnxRuntime(
            path, threads=1, device=job.device, allow_fallback=job.allow_fallback
        )
        session.check()
        done, taken = _from_threads(lambda: session(inputs), threads, seconds)
        facts = ran(session).to_json() | {"streams": threads, "threads": threads}
    else:
        compiled = openvino_.OpenVinoRuntime(
            path, threads=threads, hint="THROUGHPUT", device=job.device, allow_fallback=job.allow_fallback
        )
        compiled.check()
        queue, counts = compiled.streams(len(inputs))
        done, taken = _through_queue(queue, inputs, seconds)
        facts = ran(compiled).to_json() | counts
    return ThroughputAnswer(len(inputs) * done, taken, StreamsRecord.from_json(facts))


def _from_threads(call: Callable[[], Any], threads: int, seconds: float) -> tuple[int, float]:
    """How many calls `threads` threads finish in about `seconds`, and in how many exactly."""
    call()
    counts = [0] * threads
    barrier = threading.Barrier(threads + 1)

    def call_until_stop(slot: int) -> None:
        barrier.wait()
        while perf_counter() < stop:
            call()
            counts[slot] += 1

    threads_ = [threading.Thread(target=call_until_stop, args=(slot,)) for slot in range(threads)]
    for each in threads_:
        each.start()
    start = perf_counter()
    stop = start + seconds
    barrier.wait()
    for each in threads_:
        each.join()
    return sum(counts), perf_counter() - start


def _through_queue(queue: Any, inputs: Any, seconds: float) -> tuple[int, float]:
    """How many requests OpenVINO's queue finishes in about `seconds`, and in how many exactly."""
    for _ in range(len(queue)):
        queue.start_async([inputs])
    queue.wait_all()
    done = 0
    start = perf_counter()
    while perf_counter() - start < seconds:
        queue.start_async([inputs])
        done += 1
    queue.wait_all()
    return done, perf_counter() - start


def resident_mb(key: str) -> float | None:
    """This process's memory in MiB, from Linux's accounts: VmRSS now, VmHWM at most since it began. Elsewhere the peak
    alone, as getrusage tells it."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) / 1024
    if key == "VmHWM":
        with suppress(ImportError, OSError):
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak / (2**20 if sys.platform == "darwin" else 1024)
    return None


if __name__ == "__main__":
    main()
    os._exit(0)  # without waiting for a runtime's threads
