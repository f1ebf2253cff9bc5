"""One request of the host, answered: probe, receive, prepare or run. Nothing that it starts outlives the connection."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import sys
import tarfile
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from edge_tl.host.remote.agent.channel import DISK_FULL, MARK, AgentError, Channel
from edge_tl.host.remote.agent.environment import prepare
from edge_tl.host.remote.agent.messages import (
    Answer,
    ErrorAnswer,
    PrepareRequest,
    ProbeAnswer,
    ProbeRequest,
    ReceiveAnswer,
    Request,
    RunAnswer,
    RunRequest,
    decode_request,
    encode,
)
from edge_tl.host.remote.agent.store import Store

# The verb, without the working folder on the path, which `-c` puts first. PYTHONPATH has no empty entry: `run` sets it.
START = """
import sys
if sys.path[0] == "":
    del sys.path[0]
from edge_tl.__main__ import main
main()
"""


def probe(store: Store, request: ProbeRequest) -> ProbeAnswer:
    """What this device is, and which of the contents are missing here."""
    store.clean()
    return ProbeAnswer(platform.machine(), [sha256 for sha256 in request.objects if not store.has(sha256)])


def receive(store: Store) -> ReceiveAnswer:
    """Store the contents of the tar that follows the request."""
    with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream:
                store.add(member.name, stream)
    return ReceiveAnswer()


def run(store: Store, channel: Channel, request: RunRequest) -> RunAnswer:
    """Run a verb on copies of the files that exist for this run only."""
    channel.watch()
    code = store.unpack_wheel(request.wheel)
    place = store.root / "runs" / f"{time.time_ns()}-{os.getpid()}"
    with store.scratch() as scratch, (scratch / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = [
            store.link_tree(layout.files, scratch / f"{i}" / layout.name)
            for i, layout in enumerate(request.layouts)
        ]
        scratch.rename(store.claim(place))
        try:
            paths = [str(place / path.relative_to(scratch)) for path in made]
            words = [word if isinstance(word, str) else paths[word] for word in request.words]
            command = [request.python, "-c", START, *words]
            with channel.child(command, cwd=place, env=_environment(store, code, place)) as process:
                out = process.stdout.read() if process.stdout else b""
                exit_code = process.wait()
            return RunAnswer(exit_code, out.decode(errors="replace"))
        finally:
            store.remove(place)


def _environment(store: Store, code: Path, place: Path) -> dict[str, str]:
    environment = os.environ | {"PYTHONPATH": str(code), "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1"}
    environment["TMPDIR"] = str(place)  # what a runtime leaves behind goes with the run
    environment["EDGE_TL_CACHE"] = str(store.root)
    return environment


def answer_to(store: Store, request: Request) -> Answer:
    """Do what is asked. Raises `AgentError`, `OSError`, and the errors of damaged archives."""
    if isinstance(request, ProbeRequest):
        return probe(store, request)
    if isinstance(request, PrepareRequest):
        return prepare(store, Channel(), request)
    if isinstance(request, RunRequest):
        return run(store, Channel(), request)
    return receive(store)


def main() -> None:
    """Answer the one request on standard input."""
    stdin = sys.stdin.buffer
    request = decode_request(stdin.read(int(stdin.readline())))
    store: Store | None = None
    answer: Answer
    try:
        store = Store(request.folder)
        os.chdir(
            store.root / "made"
        )  # not the home, where `python -m venv` would find a person's own modules
        answer = answer_to(store, request)
    except AgentError as error:
        answer = ErrorAnswer(error.kind, str(error))
    except (OSError, tarfile.TarError, zipfile.BadZipFile) as error:
        kind = "disk" if getattr(error, "errno", None) in DISK_FULL else "files"
        answer = ErrorAnswer(kind, f"{error}")
    if isinstance(answer, ErrorAnswer) and answer.kind == "disk" and store:
        free = shutil.disk_usage(store.root).free
        answer = ErrorAnswer("disk", f"{free / 1e6:.0f} MB free in {store.root}")
    text = encode(answer)
    with suppress(OSError):
        sys.stdout.buffer.write(b"%b%d\n%b" % (MARK, len(text), text))
        sys.stdout.buffer.flush()
