"""One request of the desk, answered: `look`, `receive`, `prepare` or `run`. It must not outlive the connection."""

from __future__ import annotations

import fcntl
import json
import os
import platform
import shutil
import sys
import tarfile
import time
import zipfile
from contextlib import suppress
from typing import Any

from edge_tl.host.remote.agent.channel import FULL, MARK, Desk, Trouble
from edge_tl.host.remote.agent.environment import prepare
from edge_tl.host.remote.agent.store import Store

# The verb, without the working folder on the path, which `-c` puts first. PYTHONPATH has no empty entry: `run` sets it.
START = """
import sys
if sys.path[0] == "":
    del sys.path[0]
from edge_tl.__main__ import main
main()
"""


def look(store: Store, desk: Desk, request: dict[str, Any]) -> dict[str, Any]:
    """What this device is, and which of the wanted objects it lacks."""
    store.clean()
    missing = [sha256 for sha256 in request["objects"] if not store.holds(sha256)]
    return {"machine": platform.machine(), "missing": missing}


def receive(store: Store, desk: Desk, request: dict[str, Any]) -> dict[str, Any]:
    """Keep the objects of the tar that follows the request."""
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream:
                store.take(member.name, stream)
    return {}


def run(store: Store, desk: Desk, request: dict[str, Any]) -> dict[str, Any]:
    """Run a verb on trees of objects that exist for this run only; its exit code and what it printed."""
    desk.watch()
    code = store.code(request["wheel"])
    place = store.root / "runs" / f"{time.time_ns()}-{os.getpid()}"
    with store.scratch() as scratch, (scratch / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        trees = [
            (i, store.lay(tree["layout"], scratch / f"{i}" / tree["name"]))
            for i, tree in enumerate(request["trees"])
        ]
        scratch.rename(store.record(place))
        try:
            paths = {i: str(place / path.relative_to(scratch)) for i, path in trees}
            words = [word if isinstance(word, str) else paths[word["tree"]] for word in request["words"]]
            environment = os.environ | {"PYTHONPATH": str(code), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
            environment["TMPDIR"] = str(place)  # what a runtime leaves behind goes with the run
            environment["EDGE_TL_CACHE"] = str(store.root)
            command = [request["python"], "-c", START, *words]
            with desk.child(command, cwd=place, env=environment) as process:
                out = process.stdout.read() if process.stdout else b""
                code_there = process.wait()
            return {"code": code_there, "out": out.decode(errors="replace")}
        finally:
            store.remove(place)


def main() -> None:
    """Answer the one request on standard input."""
    stdin = sys.stdin.buffer
    request = json.loads(stdin.read(int(stdin.readline())))
    store, answer = None, {}
    try:
        store = Store(request["folder"])
        os.chdir(
            store.root / "made"
        )  # not the home, where `python -m venv` would find a person's own modules
        answer = {"look": look, "receive": receive, "prepare": prepare, "run": run}[request["do"]](
            store, Desk(), request
        )
    except Trouble as trouble:
        answer = {"trouble": trouble.kind, "text": str(trouble)}
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        kind = "disk" if getattr(error, "errno", None) in FULL else "files"
        answer = {"trouble": kind, "text": f"{error}"}
    if answer.get("trouble") == "disk" and store:
        answer["text"] = f"{shutil.disk_usage(store.root).free / 1e6:.0f} MB free in {store.root}"
    text = json.dumps(answer).encode()
    with suppress(OSError):
        sys.stdout.buffer.write(b"%b%d\n%b" % (MARK, len(text), text))
        sys.stdout.buffer.flush()
