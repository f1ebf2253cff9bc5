"""`latest` in place of a run or a bundle: the one below the working folder that was finished last. Reads no record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from edge_tl.cli._console import say
from edge_tl.device.errors import BadInput

LATEST = "latest"
_BUNDLE, _RUN = "bundle.json", "run.json"
_BESIDE = {_BUNDLE: "golden", _RUN: "model.safetensors"}  # else it is another program's file of that name
# Where results lie: exported/NAME, runs/NAME, what --out named, and below it what `run --out` and `demo` make.
_DEPTHS = ("*", "*/*")


def latest_bundle(given: Path) -> Path:
    """`given`, or for "latest" the bundle that was made last. Raises `BadInput` where there is none."""
    return _resolved(given, "bundle", (_BUNDLE,), "edge-tl export")


def latest_run(given: Path) -> Path:
    """`given`, or for "latest" the run that was made last. Raises `BadInput` where there is none."""
    return _resolved(given, "run", (_RUN,), "edge-tl finetune")


def latest_result(given: Path) -> Path:
    """`given`, or for "latest" the run or bundle that was made last. Raises `BadInput` where there is none."""
    return _resolved(given, "run or bundle", (_RUN, _BUNDLE), "edge-tl run FOLDER")


def each(one: Callable[[Path], Path]) -> Callable[[list[Path]], list[Path]]:
    """For an argument that takes several."""
    return lambda given: [one(path) for path in given]


def _resolved(given: Path, what: str, records: tuple[str, ...], verb: str) -> Path:
    if str(given) != LATEST or given.exists():
        return given
    made = [(record.stat().st_mtime_ns, str(record.parent)) for record in _found(records)]
    if not made:
        raise BadInput(f"latest: no {what} below {Path.cwd()}. Make one: {verb}; or give its folder.")
    chosen = Path(max(made)[1])
    say(f"latest: {chosen}")
    return chosen


def _found(records: tuple[str, ...]) -> Iterator[Path]:
    for depth in _DEPTHS:
        for name in records:
            for path in Path().glob(f"{depth}/{name}"):
                hidden = any(part.startswith(".") for part in path.parts)
                if path.is_file() and (path.parent / _BESIDE[name]).exists() and not hidden:
                    yield path
