"""Several devices at a time, one thread each; what one of them meets does not keep the others. It must not print.

Those of one host take turns: two timings at once would be in each other's figures.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from edge_tl.device.bench import results
from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.files import write_json
from edge_tl.device.own_results import is_result
from edge_tl.host.remote.inventory import Target, file_name
from edge_tl.host.remote.job import Errand, Journey, all_passed
from edge_tl.host.remote.ssh import Connection

AT_ONCE = 16
_SOCKET_LENGTH = 80  # a Unix socket's path has 104 characters or so, and ssh adds 17 while it makes one


def run(
    targets: Mapping[str, Target],
    errand: Errand,
    *,
    ssh: str = "ssh",
    out: Path | None = None,
    save: bool = False,
    progress: Callable[[str, str, str], None] = lambda name, step, note: None,
) -> dict[str, Any]:
    """Send the errand to every device: `{verb, passed, devices[{name, host, status, ...}]}` in the order given.

    `out` is a folder: each result is written to NAME.json in it as it comes home, over the one of the last run. With
    `save` it is kept below `benchmarks/results` too, as `results.save` does. `saved[]` has the paths; a device whose
    result cannot be written is an error at the step save, its result in the entry all the same. `progress` hears
    (name, step, note) from several threads. When interrupted, everything is ended here and there before the
    interrupt goes on.
    """
    command = _command(ssh)
    if out and out.exists() and not out.is_dir():
        raise BadInput(
            f"--out {out}: a file is there. With --on it is a folder, which gets one JSON a device."
        )
    for folder, option in ((out, "--out"), (results.FOLDER if save else None, "--save")):
        if folder:
            _probe(folder, option)
    if out:
        _refuse_foreign(out, targets)
    scratch = Path(_private_folder())
    journeys: dict[str, Journey] = {}
    for number, (name, target) in enumerate(targets.items()):
        sockets = (scratch / f"{number}-{attempt}" for attempt in count())
        journeys[name] = Journey(
            target, errand, partial(_connect, command, target, sockets), partial(progress, name)
        )
    turns: dict[str, list[str]] = {}
    for name, target in targets.items():
        turns.setdefault(target.host, []).append(name)
    pool = ThreadPoolExecutor(max_workers=min(AT_ONCE, len(turns)))
    entries: dict[str, dict[str, Any]] = {}
    try:
        for first, *others in turns.values():
            for name in others:
                progress(name, "in turn", f"{first} is on the same host")
        pending: dict[Future[dict[str, Any]], str] = {
            pool.submit(journeys[names[0]].travel): names[0] for names in turns.values()
        }
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                name = pending.pop(future)
                entry = {"name": name, "host": targets[name].host} | future.result()
                turns[targets[name].host].remove(name)
                for following in turns[targets[name].host][:1]:
                    pending[pool.submit(journeys[following].travel)] = following
                if "result" in entry:
                    entry |= _kept(entry, out, save)
                    if entry["status"] == "error":
                        progress(name, "failed", entry["error"])
                entries[name] = entry
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


def _probe(folder: Path, option: str) -> None:
    """Whether a file can be written there is known before a device works for an hour. It leaves nothing behind: no
    result may come home. Raises `BadInput`."""
    try:
        there = next(above for above in (folder, *folder.absolute().parents) if above.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise BadInput(
            f"{option} {folder}: cannot write there: {error.strerror}. Give another folder, or make room."
        ) from None


def _refuse_foreign(out: Path, names: Iterable[str]) -> None:
    """Refuse a folder where a file of somebody else's has the name of a result."""
    for path in (out / file_name(name) for name in names):
        if os.path.isfile(path) and not is_result(path):  # unlike Path's, quiet about a name too long
            raise BadInput(
                f"--out {out}: {path.name} is there, which edge-tl did not write. Give another folder."
            )


def _kept(entry: dict[str, Any], out: Path | None, save: bool) -> dict[str, Any]:
    """`{saved[]}` of a result, and status, step and error where a file could not be written."""
    record, saved, troubles = entry["result"], [], []
    ways: list[Callable[[], Path]] = [lambda: results.save(record)] if save else []
    if out:
        ways.append(partial(_written, out / file_name(entry["name"]), record))
    for way in ways:
        try:
            saved.append(str(way()))
        except Exception as error:  # whatever it is: the other devices are still at work
            known = isinstance(error, EdgeTLError | OSError)
            troubles.append(str(error) if known else f"unexpected {type(error).__name__}: {error}")
    if not troubles:
        return {"saved": saved}
    text = f"its result could not be saved: {'; '.join(troubles)}. --json prints it."
    return {"saved": saved, "status": "error", "step": "save", "error": text}


def _written(path: Path, record: dict[str, Any]) -> Path:
    write_json(path, record)
    return path


def _private_folder() -> str:
    folder = tempfile.mkdtemp(prefix="edge-tl-")
    if len(os.fsencode(folder)) > _SOCKET_LENGTH:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="edge-tl-", dir="/tmp")
    return folder


def _connect(command: list[str], target: Target, sockets: Iterator[Path]) -> Connection:
    return Connection(command, target.host, next(sockets))
