"""A virtual environment with what a verb requires, made once for these requirements and this interpreter.

Only what edge-tl depends on goes in; edge-tl itself lies beside it (`Store.code`), so a new version of it costs no
second environment.
"""

from __future__ import annotations

import hashlib
import json
import os
import site
import sys
from pathlib import Path
from typing import Any

from edge_tl.host.remote.agent.channel import Desk, Trouble, tell
from edge_tl.host.remote.agent.store import Store

FULL_WORDS = ("No space left on device", "Disk quota exceeded", "File too large")

# Run by the new environment's interpreter: which requirements it lacks. A runtime counts when it can be imported,
# because a vendor's build has another name.
LACKING = """
import importlib.metadata, importlib.util, json, re, sys
base, runtimes, any_runtime = json.loads(sys.argv[1])
def number(text): return [int(part) for part in re.findall(r"\\d+", text)[:3]]
def old(line):
    name, _, least = line.partition(">=")
    try: return number(importlib.metadata.version(name)) < number(least)
    except importlib.metadata.PackageNotFoundError: return True
lacking = [line for line in base if old(line)]
absent = [line for line in runtimes if not importlib.util.find_spec(re.split(r"\\W", line)[0])]
print(json.dumps(lacking + (absent if not any_runtime or len(absent) == len(runtimes) else [])))
"""


def prepare(store: Store, desk: Desk, request: dict[str, Any]) -> dict[str, Any]:
    """An environment with what the verb requires: made once for these requirements and this interpreter."""
    desk.watch()
    outer = site.getsitepackages() if request["site_packages"] and sys.prefix != sys.base_prefix else []
    wheels = sorted(request["wheels"].items()) if request["wheels"] else None
    asked = [request[key] for key in ("base", "runtimes", "any_runtime", "site_packages")]
    wish = [sys.executable, sys.version, *asked, wheels]
    home = store.root / "envs" / hashlib.sha256(json.dumps(wish).encode()).hexdigest()[:16]
    done = home / "edge-tl-done"
    with store.locked(home.with_suffix(".lock"), desk):
        made = not (done.is_file() and store.recorded(home))
        if made:
            store.remove(home)
            store.record(home)
            try:
                with store.scratch() as scratch:
                    os.environ["TMPDIR"] = str(scratch)  # a small device's /tmp is small
                    _make(store, desk, request, home, outer, scratch)
                done.touch()
            except BaseException:
                store.remove(home)
                raise
        for path in (home, done):
            os.utime(path)
    return {"python": str(home / "bin/python"), "made": made}


def _make(
    store: Store, desk: Desk, request: dict[str, Any], home: Path, outer: list[str], scratch: Path
) -> None:
    tell("making the environment")
    shared = ["--system-site-packages"] if request["site_packages"] else []
    _step(desk, "venv", [sys.executable, "-m", "venv", "--without-pip", *shared, str(home)])
    if outer:  # the interpreter is itself an environment's: its packages are not the system's
        [own] = home.glob("lib/python3*/site-packages")
        (own / "outer.pth").write_text("".join(f"{path}\n" for path in outer), encoding="utf-8")
    python = str(home / "bin/python")
    wanted = [*request["base"], *request["runtimes"]]
    if request["site_packages"]:
        asked = json.dumps([request["base"], request["runtimes"], request["any_runtime"]])
        wanted = json.loads(_step(desk, "venv", [python, "-c", LACKING, asked], aloud=False)[-1])
    if not wanted:
        return
    _step(desk, "venv", [python, "-m", "ensurepip", "--default-pip"])
    source = ["--retries", "2"]
    if request["wheels"]:
        source = ["--no-index", "--find-links", str(store.lay(request["wheels"], scratch / "wheels"))]
    quiet = "--disable-pip-version-check --no-input --no-cache-dir --prefer-binary --progress-bar off".split()
    _step(desk, "install", [python, "-m", "pip", "install", *quiet, *source, *wanted])


def _step(desk: Desk, kind: str, command: list[str], *, aloud: bool = True) -> list[str]:
    code, lines = desk.call(command, aloud=aloud)
    if desk.gone.is_set():
        raise Trouble("gone", "the desk is gone")
    if code:
        if any(words in line for line in lines for words in FULL_WORDS):
            raise Trouble("disk", "")
        errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
        raise Trouble(kind, (errors or [line for line in lines if line] or [f"exit code {code}"])[-1])
    return lines
