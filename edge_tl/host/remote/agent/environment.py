"""A virtual environment with what a verb requires, made once for these requirements and this interpreter.

It holds only what edge-tl depends on. edge-tl itself lies beside it (`Store.unpack_wheel`), so a new version of it
needs no second environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import site
import sys
from pathlib import Path

from edge_tl.host.remote.agent.channel import AgentError, Channel, log
from edge_tl.host.remote.agent.messages import PrepareAnswer, PrepareRequest
from edge_tl.host.remote.agent.store import Store

DISK_FULL_WORDS = ("No space left on device", "Disk quota exceeded", "File too large")

# Run by the new environment's interpreter: which requirements are missing there. A runtime counts when it can be
# imported, because a vendor's build has another name.
MISSING = """
import importlib.metadata, importlib.util, json, re, sys
base, runtimes, any_runtime = json.loads(sys.argv[1])
def number(text): return [int(part) for part in re.findall(r"\\d+", text)[:3]]
def old(line):
    name, _, least = line.partition(">=")
    try: return number(importlib.metadata.version(name)) < number(least)
    except importlib.metadata.PackageNotFoundError: return True
missing = [line for line in base if old(line)]
absent = [line for line in runtimes if not importlib.util.find_spec(re.split(r"\\W", line)[0])]
print(json.dumps(missing + (absent if not any_runtime or len(absent) == len(runtimes) else [])))
"""


def prepare(store: Store, channel: Channel, request: PrepareRequest) -> PrepareAnswer:
    """Find or make the environment of these requirements and this interpreter. Raises `AgentError`."""
    channel.watch()
    home = store.root / "envs" / _key(request)
    done = home / "edge-tl-done"
    with store.locked(home.with_suffix(".lock"), channel):
        made = not (done.is_file() and store.owns(home))
        if made:
            store.remove(home)
            store.claim(home)
            try:
                with store.scratch() as scratch:
                    os.environ["TMPDIR"] = str(scratch)  # a small device's /tmp is small
                    _make(store, channel, request, home, scratch)
                done.touch()
            except BaseException:
                store.remove(home)
                raise
        for path in (home, done):
            os.utime(path)
    return PrepareAnswer(str(home / "bin/python"), made)


def _key(request: PrepareRequest) -> str:
    wheels = sorted(request.wheels.items()) if request.wheels else None
    asked = [request.base, request.runtimes, request.any_runtime, request.site_packages]
    wish = [sys.executable, sys.version, *asked, wheels]
    return hashlib.sha256(json.dumps(wish).encode()).hexdigest()[:16]


def _make(store: Store, channel: Channel, request: PrepareRequest, home: Path, scratch: Path) -> None:
    log("making the environment")
    shared = ["--system-site-packages"] if request.site_packages else []
    _step(channel, "venv", [sys.executable, "-m", "venv", "--without-pip", *shared, str(home)])
    if request.site_packages and sys.prefix != sys.base_prefix:
        # The interpreter is itself a virtual environment's: its packages are not the system's.
        [own] = home.glob("lib/python3*/site-packages")
        (own / "outer.pth").write_text(
            "".join(f"{path}\n" for path in site.getsitepackages()), encoding="utf-8"
        )
    python = str(home / "bin/python")
    wanted = [*request.base, *request.runtimes]
    if request.site_packages:
        asked = json.dumps([request.base, request.runtimes, request.any_runtime])
        wanted = json.loads(_step(channel, "venv", [python, "-c", MISSING, asked], echo=False)[-1])
    if not wanted:
        return
    _step(channel, "venv", [python, "-m", "ensurepip", "--default-pip"])
    source = ["--retries", "2"]
    if request.wheels:
        source = ["--no-index", "--find-links", str(store.link_tree(request.wheels, scratch / "wheels"))]
    quiet = "--disable-pip-version-check --no-input --no-cache-dir --prefer-binary --progress-bar off".split()
    _step(channel, "install", [python, "-m", "pip", "install", *quiet, *source, *wanted])


def _step(channel: Channel, kind: str, command: list[str], *, echo: bool = True) -> list[str]:
    code, lines = channel.call(command, echo=echo)
    channel.check_open()
    if code:
        if any(words in line for line in lines for words in DISK_FULL_WORDS):
            raise AgentError("disk", "")
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise AgentError(kind, (errors or [line for line in lines if line] or [f"exit code {code}"])[-1])
    return lines
