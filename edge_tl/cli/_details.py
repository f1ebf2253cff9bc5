"""What `-v` adds to every verb: what it was asked for, what it runs on, what it opened, and what that took."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_tl import __version__
from edge_tl.device.errors import EdgeTLError
from edge_tl.device.format import megabytes, number

_PACKAGES = ("numpy", "pillow", "onnxruntime", "openvino", "torch", "torchvision", "nncf")
_NEVER = {"json", "debug"}


def spent(begun: float) -> str:
    """How long it is since `begun`, of `perf_counter`, and what this process used."""
    used = os.times()
    here, below = used.user + used.system, used.children_user + used.children_system
    return (
        f"took {number(time.perf_counter() - begun, 1)} s; {number(here, 1)} s of processors here, "
        f"{number(below, 1)} s in processes that it started{_memory()}"
    )


def beginning(ctx: Any) -> Iterator[str]:
    """Of the command that `ctx` parsed: versions, machine, what was typed, what is left as it is, the bundle."""
    from edge_tl.device.machine import cores_allowed  # nobody waits for it who asked for --help

    yield f"edge-tl {__version__}, Python {platform.python_version()}, {platform.platform()}"
    found = [f"{name} {version}" for name in _PACKAGES if (version := _version(name))]
    yield f"with {', '.join(found)}; {cores_allowed()} of {os.cpu_count()} cores"
    typed: list[str] = []
    left: list[str] = []
    for option in ctx.command.params:
        name, value = str(option.name), ctx.params.get(str(option.name))
        if value is None or value in ([], ()) or name in _NEVER:
            continue
        source = ctx.get_parameter_source(name)
        shown = f"{option.opts[0] if option.param_type_name == 'option' else name.upper()} {_plain(value)}"
        (left if source is None or source.name.startswith("DEFAULT") else typed).append(shown)
    yield f"given: {', '.join(typed) or 'nothing'}"
    yield f"not given: {', '.join(left) or 'nothing'}"
    if isinstance(bundle := ctx.params.get("bundle"), Path):
        yield from _bundle(bundle)


def _bundle(folder: Path) -> Iterator[str]:
    """What the record of a bundle says, unchecked: the verb refuses what is none."""
    from edge_tl.device.bundle import read_report

    try:
        record = read_report(folder)
    except (EdgeTLError, OSError):
        return
    yield f"bundle: {folder.resolve()}, {record.name}, {len(record.labels)} labels, recommended: {record.recommended}"
    for each in record.artifacts:
        size = megabytes(sum(file.bytes for file in each.files))
        yield f"artifact: {each.id}, {', '.join(file.path for file in each.files)}, {size}"


def _plain(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _version(package: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _memory() -> str:
    try:
        import resource
    except ImportError:  # Windows
        return ""
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return f"; at most {megabytes(1024 * kib)} of memory here"
