"""Several devices at a time, one thread each; what one of them meets does not keep the others. It must not print."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from edge_tl.host.fleet.errand import Errand, Journey, all_passed
from edge_tl.host.fleet.ssh import Connection
from edge_tl.host.fleet.targets import Target, file_name
from edge_tl.target.errors import BadInput
from edge_tl.target.files import write_json

AT_ONCE = 16
_SOCKET_LENGTH = 80  # a Unix socket's path has 104 characters or so, and ssh adds 17 while it makes one


def run(
    targets: Mapping[str, Target],
    errand: Errand,
    *,
    ssh: str = "ssh",
    out: Path | None = None,
    progress: Callable[[str, str, str], None] = lambda name, step, note: None,
) -> dict[str, Any]:
    """Send the errand to every device: `{verb, passed, devices[{name, host, status, ...}]}` in the order given.

    `out` is a folder: each result is written to NAME.json in it as it comes home. `progress` hears (name, step, note)
    from several threads. When interrupted, everything is ended here and there before the interrupt goes on.
    """
    command = _command(ssh)
    if out and out.exists() and not out.is_dir():
        raise BadInput(
            f"--out {out}: a file is there. With --on it is a folder, which gets one JSON a device."
        )
    scratch = Path(_private_folder())
    journeys: dict[str, Journey] = {}
    for number, (name, target) in enumerate(targets.items()):
        sockets = (scratch / f"{number}-{attempt}" for attempt in count())
        journeys[name] = Journey(
            target, errand, partial(_connect, command, target, sockets), partial(progress, name)
        )
    pool = ThreadPoolExecutor(max_workers=min(AT_ONCE, len(journeys)))
    entries: dict[str, dict[str, Any]] = {}
    try:
        pending: dict[Future[dict[str, Any]], str] = {
            pool.submit(journey.travel): name for name, journey in journeys.items()
        }
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                name = pending.pop(future)
                entries[name] = {"name": name, "host": targets[name].host} | future.result()
                if out and "result" in entries[name]:
                    write_json(out / file_name(name), entries[name]["result"])
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        closing = [threading.Thread(target=journey.stop) for journey in journeys.values()]
        for thread in closing:
            thread.start()
        for thread in closing:
            thread.join()
        pool.shutdown(wait=True)
        shutil.rmtree(scratch, ignore_errors=True)
    ordered = [entries[name] for name in targets]
    return {"verb": errand.verb, "passed": all_passed(ordered), "devices": ordered}


def _command(ssh: str) -> list[str]:
    if os.name != "posix":
        raise BadInput("--on needs OpenSSH's shared connections, which Windows lacks. Use WSL.")
    words = shlex.split(ssh)
    if not words or not shutil.which(words[0]):
        raise BadInput(f"no such program: {ssh!r}. Install OpenSSH's client, or set EDGE_TL_SSH.")
    return words


def _private_folder() -> str:
    folder = tempfile.mkdtemp(prefix="edge-tl-")
    if len(os.fsencode(folder)) > _SOCKET_LENGTH:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="edge-tl-", dir="/tmp")
    return folder


def _connect(command: list[str], target: Target, sockets: Iterator[Path]) -> Connection:
    return Connection(command, target.host, next(sockets))
