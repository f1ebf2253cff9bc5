"""A model that came from elsewhere is opened and first run in a process of its own, with limits of time and memory.

An endless Loop, a Scan of gigabytes or a crash of the runtime ends that process and becomes one sentence. What ran once
is remembered by its content, never in the bundle, which is not to be trusted. Checks no answer of the model.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from edge_tl.device import spawn
from edge_tl.device.errors import BadInput, BundleError
from edge_tl.device.files import private, sha256_known
from edge_tl.device.machine import installed
from edge_tl.device.records.codec import Record
from edge_tl.device.runtimes.families import BY_SUFFIX, files_of
from edge_tl.device.text import printable

WORKER = "edge_tl.device.runtimes.sandbox_worker"
SECONDS_VARIABLE, MEMORY_VARIABLE, CACHE_VARIABLE = (
    "EDGE_TL_MODEL_SECONDS",
    "EDGE_TL_MODEL_MB",
    "EDGE_TL_CACHE",
)
# A board with an SD card takes seconds for each 10 MB and twenty to import a runtime; a compiler for an accelerator
# takes minutes.
_BASE_S, _S_PER_MB, _MOST_S, _COMPILER_S = 60.0, 1.0, 1800.0, 1200.0
# Weights are held as the file's bytes, as parsed and as packed for the kernels; the base holds activations.
_BASE_MB, _TIMES_SIZE = 1024.0, 8.0
_MB = 1 << 20
_INPUTS = 2  # raised when the smoke test tries other inputs, so that every model is tested again
_MOST_KEPT = 1000  # models that are remembered

_ran: set[str] = set()


@dataclass(frozen=True)
class SandboxSpec(Record):
    """What the worker runs: `size` is the input's (height, width) where the model leaves it open, `megabytes` what it
    may take in MiB."""

    path: str
    device: str
    size: tuple[int, int] | None
    megabytes: float


@dataclass(frozen=True)
class SandboxAnswer(Record):
    """Why the model does not run, None where it does; `elsewhere` where that is no fault of the model's: a runtime or a
    device that is not here."""

    reason: str | None = None
    out_of_memory: bool = False
    elsewhere: str | None = None


class SandboxLimits(NamedTuple):
    """What a smoke test may take: seconds in all, and MiB beside what the runtime itself needs."""

    seconds: float
    megabytes: float


def sandbox_limits(size: int, device: str) -> SandboxLimits:
    """For a model of `size` bytes; both variables overrule it. Raises `BadInput` for a variable that is no number."""
    megabytes = size / _MB
    base = _BASE_S if device.upper() == "CPU" else _COMPILER_S
    seconds = min(base + _S_PER_MB * megabytes, _MOST_S)
    return SandboxLimits(
        _number(SECONDS_VARIABLE, seconds), _number(MEMORY_VARIABLE, _BASE_MB + _TIMES_SIZE * megabytes)
    )


def smoke_test(path: Path, device: str = "CPU", size: tuple[int, int] | None = None) -> None:
    """Run the model at `path` once on `device` in a process of its own, within `sandbox_limits`, unless it passed
    before. `size` is the input's (height, width) where the model leaves it open.

    Raises `BundleError` for a model that does not load or run, or takes more than the limits. A runtime that is not
    installed, or has no such device, is for whoever opens the model here to report.
    """
    key = _key(path, device, size)
    if key is None or key in _ran or _remembered(key):
        return
    allowed = sandbox_limits(_bytes(path), device)
    answer = _run_worker(path, device, size, allowed)
    if answer.elsewhere:
        return
    if answer.reason:
        raise BundleError(printable(answer.reason))
    _remember(key)


def mark_tested(path: Path, device: str = "CPU", size: tuple[int, int] | None = None) -> None:
    """Skip the smoke test of a file that this process made and ran itself, at the input's `size` (height, width)."""
    if key := _key(path, device, size):
        _remember(key)


def cache_folder() -> Path | None:
    """The folder of edge-tl's cache, `EDGE_TL_CACHE` or `edge-tl` in the user's cache folder; None
    where the variable is empty or "off", or others own the folder or can write to it."""
    given = os.environ.get(CACHE_VARIABLE)
    if given is not None and given.strip().lower() in ("", "off"):
        return None
    with suppress(OSError, RuntimeError):  # no home
        usual = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-tl"
        found = Path(given) if given else usual
        if os.name == "posix" and found.exists() and not private(found.stat()):
            return None
        return found
    return None


def _run_worker(
    path: Path, device: str, size: tuple[int, int] | None, allowed: SandboxLimits
) -> SandboxAnswer:
    spec = SandboxSpec(str(path), device, size, allowed.megabytes)
    try:
        done = subprocess.run(
            spawn.command(WORKER, json.dumps(spec.to_json())),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            timeout=allowed.seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return SandboxAnswer(
            f"{path.name}: loading and a first run took more than {allowed.seconds:.0f} s and was ended. Do not use "
            f"it; for a model that you trust set {SECONDS_VARIABLE} higher."
        )
    try:
        answer = SandboxAnswer.from_json(json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, IndexError, BadInput):
        return SandboxAnswer(
            f"{path.name}: a first run ended its process ({_how(done.returncode)}). Do not use it; for a model that "
            f"you trust set {MEMORY_VARIABLE} higher than {allowed.megabytes:.0f}, or try another runtime."
        )
    if answer.out_of_memory:
        return SandboxAnswer(
            f"{path.name}: a first run took more than {allowed.megabytes:.0f} MB of memory and was ended. Do not use "
            f"it; for a model that you trust set {MEMORY_VARIABLE} higher."
        )
    return answer


def _how(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"signal {-code}"


def _number(variable: str, otherwise: float) -> float:
    text = os.environ.get(variable, "")
    if not text:
        return otherwise
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise BadInput(f"{variable}={printable(text)}: give a number above 0.")
    return value


def _bytes(path: Path) -> int:
    return sum(part.stat().st_size for part in files_of(path) if part.exists())


def _key(path: Path, device: str, size: tuple[int, int] | None) -> str | None:
    """What was run, with what, where, and at which size (a model may loop by its input's); None where it cannot be
    read: opening it gives the reason."""
    library = BY_SUFFIX[path.suffix].name
    try:
        contents = [sha256_known(part) for part in files_of(path)]
    except OSError:
        return None
    return hashlib.sha256(
        json.dumps([_INPUTS, contents, library, _version(library), device.upper(), size]).encode()
    ).hexdigest()


@cache
def _version(library: str) -> str | None:
    return installed(library)


def _remembered(key: str) -> bool:
    if (root := cache_folder()) and (root / "models" / key).is_file():
        _ran.add(key)
        with suppress(OSError):
            (root / "models" / key).touch()  # in use: the oldest go first
        return True
    return False


def _remember(key: str) -> None:
    _ran.add(key)
    if root := cache_folder():
        with suppress(OSError):  # a home that cannot be written to costs time, nothing else
            (root / "models").mkdir(mode=0o700, parents=True, exist_ok=True)
            (root / "models" / key).touch()
            _prune(root / "models")


def _prune(models: Path) -> None:
    """Forget what was not used for the longest, beyond `_MOST_KEPT`: only empty files with names of our making."""
    made = [path for path in models.iterdir() if re.fullmatch("[0-9a-f]{64}", path.name)]
    if len(made) > _MOST_KEPT:
        states = {path: path.lstat() for path in made}
        mine = [path for path in made if stat.S_ISREG(states[path].st_mode) and not states[path].st_size]
        for path in sorted(mine, key=lambda path: states[path].st_mtime_ns)[: len(made) - _MOST_KEPT]:
            path.unlink()
