"""The verbs as a user starts them, for the benchmarks."""

from __future__ import annotations

import json
import subprocess
import sys
from time import perf_counter
from typing import Any


def command(*words: object) -> list[str]:
    """`edge-tl WORDS --json` with this Python."""
    return [sys.executable, "-m", "edge_tl", *map(str, words), "--json"]


def timed(*words: object) -> tuple[dict[str, Any], float]:
    """What the verb printed and the seconds of its whole process. Raises when it failed (2); a failed gate (1) is a
    result."""
    start = perf_counter()
    done = subprocess.run(command(*words), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"edge-tl {' '.join(map(str, words))}: exit code {done.returncode}")
    return json.loads(done.stdout), perf_counter() - start
