"""`edge-tl serve` under many clients at once: photographs, and what is none, for a minute on loopback.

    python benchmarks/serve_load.py BUNDLE PHOTOGRAPHS [--clients 200] [--seconds 60]

Each client posts one file after the other over its own connection: of a hundred, 85 photographs, 5 cut in half, 5 that
are no image, 3 beyond the limit on bytes with a length, 2 without one. After a 503 it waits as Retry-After says, a
little more or less, as a client should. The memory of the service is looked at five times a second.
Passed: no 5xx but 503, the status that each kind should have, and memory in the last third within a tenth of the middle
one. The result goes to benchmarks/results/serve_load.json.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx
import numpy as np
import psutil

from edge_tl.device.bench.machine_use import cpu_usage
from edge_tl.device.bundle import read_bundle
from edge_tl.device.files import write_json
from edge_tl.device.images.folders import images_in
from edge_tl.device.machine import identity

RESULT = Path(__file__).resolve().parent / "results" / "serve_load.json"
MAX_MB = 2
WANTED = {"photograph": 200, "truncated": 422, "no image": 422, "oversized": 413, "oversized, no length": 413}
PHOTOGRAPHS = 64


class Load:
    """What was sent and what came back."""

    def __init__(self, photographs: list[bytes]) -> None:
        self.photographs = photographs
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.seconds: dict[str, list[float]] = {}
        self.errors: Counter[str] = Counter()

    async def ask(self, client: httpx.AsyncClient, seed: int, end: float) -> None:
        rng = random.Random(seed)
        while perf_counter() < end:
            kind, request = self.request(rng)
            start = perf_counter()
            try:
                got = await client.post("/predict", **request)
            except httpx.HTTPError as error:
                self.errors[f"{kind}: {type(error).__name__}"] += 1
                continue
            self.statuses[kind, got.status_code] += 1
            name = "answered" if got.status_code != 503 else "503"
            self.seconds.setdefault(f"{kind}, {name}", []).append(perf_counter() - start)
            if got.status_code == 503:
                await asyncio.sleep(float(got.headers["retry-after"]) * rng.uniform(0.5, 1.5))

    def request(self, rng: random.Random) -> tuple[str, dict[str, Any]]:
        photograph, kind = rng.choice(self.photographs), rng.random()
        if kind < 0.85:
            return "photograph", {"files": {"file": ("a.jpg", photograph)}}
        if kind < 0.90:
            return "truncated", {"files": {"file": ("a.jpg", photograph[: len(photograph) // 2])}}
        if kind < 0.95:
            return "no image", {"files": {"file": ("a.jpg", rng.randbytes(20_000))}}
        if kind < 0.98:
            return "oversized", {"files": {"file": ("a.jpg", bytes(int(1.5e6 * MAX_MB)))}}
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        return "oversized, no length", {"content": endless(), "headers": headers}


async def endless() -> AsyncIterator[bytes]:
    yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    for _ in range(int(15 * MAX_MB)):
        yield bytes(100_000)


async def watch(process: psutil.Process, samples: list[tuple[float, float]], start: float) -> None:
    while True:
        samples.append((round(perf_counter() - start, 1), round(process.memory_info().rss / 1e6, 1)))
        await asyncio.sleep(0.2)


async def loaded(url: str, asked: argparse.Namespace, process: psutil.Process) -> tuple[Load, Any]:
    found = images_in(asked.photographs).images[
        :: max(1, len(images_in(asked.photographs).images) // PHOTOGRAPHS)
    ]
    load = Load([path.read_bytes() for path in found])
    samples: list[tuple[float, float]] = []
    limits = httpx.Limits(max_connections=asked.clients, max_keepalive_connections=asked.clients)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False) as client:
        start = perf_counter()
        watching = asyncio.create_task(watch(process, samples, start))
        await asyncio.gather(
            *(load.ask(client, seed, start + asked.seconds) for seed in range(asked.clients))
        )
        watching.cancel()
    return load, samples


def server_seconds(metrics: str) -> dict[str, float]:
    """The service's own times: of /predict, how many of its answers, refusals too, took at most so many seconds."""
    pattern = r'edge_tl_request_seconds_bucket\{le="([^"]+)",route="/predict"\} (\S+)'
    return {bound: float(count) for bound, count in re.findall(pattern, metrics)}


def latency(seconds: list[float]) -> dict[str, float | int]:
    found = {f"p{p}_ms": round(float(np.percentile(seconds, p)) * 1e3, 1) for p in (50, 90, 99)}
    return {"n": len(seconds), **found, "max_ms": round(max(seconds) * 1e3, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--queue", type=int, default=64)
    parser.add_argument("--out", type=Path, default=RESULT)
    asked = parser.parse_args()
    words = ["serve", asked.bundle, "--port", 0, "--max-mb", MAX_MB, "--queue", asked.queue]
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_tl", *map(str, words)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = ""
    while not (at := re.search(r"answers at (\S+)", said)):
        line = process.stderr.readline()
        assert line, said
        said += line
    before = cpu_usage()
    load, samples = asyncio.run(loaded(at[1], asked, psutil.Process(process.pid)))
    after = cpu_usage()
    histogram = server_seconds(httpx.get(f"{at[1]}metrics", trust_env=False).text)
    process.terminate()
    rest = process.communicate(timeout=60)[1]
    third = asked.seconds / 3
    middle = statistics.median(mb for at, mb in samples if third < at <= 2 * third)
    last = statistics.median(mb for at, mb in samples if 2 * third < at <= 3 * third)
    wrong = {
        f"{kind}: {status}": n
        for (kind, status), n in load.statuses.items()
        if status not in (WANTED[kind], 503)
    }
    answered = sum(n for (kind, status), n in load.statuses.items() if status == WANTED[kind])
    passed = not wrong and not load.errors and last <= 1.1 * middle and process.returncode == 0
    bundle = read_bundle(asked.bundle)
    write_json(
        asked.out,
        {
            "machine": identity().to_json(),
            "bundle": bundle.record.name,
            "input": list(bundle.preprocess.input_size),
            "clients": asked.clients,
            "seconds": asked.seconds,
            "queue": asked.queue,
            "passed": passed,
            "statuses": {f"{kind}: {status}": n for (kind, status), n in sorted(load.statuses.items())},
            "wrong": wrong,
            "client_errors": dict(load.errors),
            "answered_per_s": round(answered / asked.seconds, 1),
            "latency": {kind: latency(seconds) for kind, seconds in sorted(load.seconds.items())},
            "server_seconds_at_most": histogram,
            "memory_mb": {
                "middle_third_median": middle,
                "last_third_median": last,
                "max": max(mb for _, mb in samples),
                "samples": samples[:: max(1, len(samples) // 60)],
            },
            "exit_code": process.returncode,
            "used": None if before is None or after is None else before.until(after).to_json(),
        },
    )
    print(dict(load.statuses), dict(load.errors), wrong, middle, last, rest[-500:])
    print(latency(load.seconds["photograph, answered"]))
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
