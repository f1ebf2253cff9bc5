"""A job on several devices at a time, one thread each; what goes wrong on one does not stop the others.

Jobs of one host run one after another: two timings at once would distort each other. It prints nothing.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from edge_tl.device.bench import results
from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.files import write_json
from edge_tl.device.listener import SILENT, Listener
from edge_tl.device.own_results import is_result
from edge_tl.device.records.bench import BenchResult
from edge_tl.host.listeners import DeviceEvent
from edge_tl.host.remote.inventory import RemoteDevice, file_name
from edge_tl.host.remote.job import DeviceJob, DeviceResult, Job
from edge_tl.host.remote.ssh import Connection

AT_ONCE = 16
_SOCKET_LENGTH = 80  # a Unix socket's path has 104 characters or so, and ssh adds 17 while it makes one


@dataclass(frozen=True)
class RemoteResult:
    """What a verb came to on every device, in the order given; passed where it passed on all."""

    verb: str
    devices: tuple[DeviceResult, ...]

    @property
    def passed(self) -> bool:
        """Whether the job ran on every device and passed its gates."""
        return all(device.status == "passed" for device in self.devices)

    def to_json(self) -> dict[str, Any]:
        """`{verb, passed, devices[]}`."""
        return {
            "verb": self.verb,
            "passed": self.passed,
            "devices": [device.to_json() for device in self.devices],
        }


def run_on_all(
    devices: Mapping[str, RemoteDevice],
    job: Job,
    *,
    ssh: str = "ssh",
    out: Path | None = None,
    save: bool = False,
    listener: Listener = SILENT,
) -> RemoteResult:
    """Run the job on every device.

    `out` is a folder: each result is written to NAME.json in it as it arrives, over that of the last run. With `save`
    it is saved below `benchmarks/results` too, as `results.save` does. A device whose result cannot be written is an
    error at the step `save`, with its result all the same. When interrupted, everything is ended here and on the
    devices before the interrupt goes on. Raises `BadInput` before anything is sent.
    """
    command = _command(ssh)
    _check_folders(out, save, devices)
    with _private_folder() as scratch:
        jobs: dict[str, DeviceJob] = {}
        for number, (name, device) in enumerate(devices.items()):
            sockets = (scratch / f"{number}-{attempt}" for attempt in count())
            connect = partial(_connect, command, device, sockets)
            jobs[name] = DeviceJob(name, device, job, connect, partial(_report, listener, name))
        finish = partial(_saved, out=out, save=save, listener=listener)
        receive = job.receive
        found = _run_jobs(jobs, (lambda done: finish(receive(done))) if receive else finish, listener)
    return RemoteResult(job.verb, tuple(found[name] for name in devices))


def _report(listener: Listener, name: str, step: str, detail: str) -> None:
    listener.event(DeviceEvent(name, step, detail))


def _run_jobs(
    jobs: Mapping[str, DeviceJob], finish: Callable[[DeviceResult], DeviceResult], listener: Listener
) -> dict[str, DeviceResult]:
    """All jobs, those of one host one after another; `finish` is called with each result as it arrives."""
    queues: dict[str, list[DeviceJob]] = {}
    for job in jobs.values():
        queues.setdefault(job.device.host, []).append(job)
    found: dict[str, DeviceResult] = {}
    pool = ThreadPoolExecutor(max_workers=min(AT_ONCE, len(queues)))
    try:
        for first, *others in queues.values():
            for job in others:
                _report(listener, job.name, "in turn", f"{first.name} is on the same host")
        pending: dict[Future[DeviceResult], list[DeviceJob]] = {
            pool.submit(queue[0].run): queue for queue in queues.values()
        }
        while pending:
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                queue = pending.pop(future)
                done = queue.pop(0)
                if queue:
                    pending[pool.submit(queue[0].run)] = queue
                found[done.name] = finish(future.result())
    finally:
        _stop(pool, jobs.values())
    return found


def _stop(pool: ThreadPoolExecutor, jobs: Iterable[DeviceJob]) -> None:
    """End what still runs, on every device at the same time."""
    pool.shutdown(wait=False, cancel_futures=True)
    closing = [threading.Thread(target=job.stop) for job in jobs]
    for thread in closing:
        thread.start()
    for thread in closing:
        thread.join()
    pool.shutdown(wait=True)


def _command(ssh: str) -> list[str]:
    if os.name != "posix":
        raise BadInput("--on needs OpenSSH's shared connections, which Windows does not have. Use WSL.")
    words = shlex.split(ssh)
    if not words or not shutil.which(words[0]):
        raise BadInput(f"no such program: {ssh!r}. Install OpenSSH's client, or set EDGE_TL_SSH.")
    return words


def _check_folders(out: Path | None, save: bool, names: Iterable[str]) -> None:
    """Whether results can be written is known before a device works for an hour. Raises `BadInput`."""
    if out and out.exists() and not out.is_dir():
        raise BadInput(
            f"--out {out}: a file is there. With --on it is a folder, which gets one JSON a device."
        )
    for folder, option in ((out, "--out"), (results.FOLDER if save else None, "--save")):
        if folder:
            _check_writable(folder, option)
    if out:
        _check_own_files(out, names)


def _check_writable(folder: Path, option: str) -> None:
    """Leaves nothing behind: there may be no result to write."""
    try:
        there = next(above for above in (folder, *folder.absolute().parents) if above.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise BadInput(
            f"{option} {folder}: cannot write there: {error.strerror}. Give another folder, or make room."
        ) from None


def _check_own_files(out: Path, names: Iterable[str]) -> None:
    """Refuse a folder where a file that edge-tl did not write has the name of a result."""
    for path in (out / file_name(name) for name in names):
        if os.path.isfile(path) and not is_result(path):  # unlike Path's, quiet about a name too long
            raise BadInput(
                f"--out {out}: {path.name} is there, which edge-tl did not write. Give another folder."
            )


def _saved(done: DeviceResult, *, out: Path | None, save: bool, listener: Listener) -> DeviceResult:
    """With the paths that its result was written to; an error where a file could not be written."""
    result = done.result
    if result is None:
        return done
    saved, failures = [], []
    writers: list[Callable[[], Path]] = (
        [lambda: results.save_result(BenchResult.from_json(result, newer_keys=True))] if save else []
    )
    if out:
        writers.append(partial(_written, out / file_name(done.name), result))
    for write in writers:
        try:
            saved.append(str(write()))
        except Exception as error:  # whatever it is: the other devices are still at work
            known = isinstance(error, EdgeTLError | OSError)
            failures.append(str(error) if known else f"unexpected {type(error).__name__}: {error}")
    done = replace(done, saved=(*done.saved, *saved))
    if not failures:
        return done
    text = f"its result could not be saved: {'; '.join(failures)}. --json prints it."
    _report(listener, done.name, "failed", text)
    return replace(done, status="error", step="save", error=text)


def _written(path: Path, result: dict[str, Any]) -> Path:
    write_json(path, result)
    return path


@contextmanager
def _private_folder() -> Iterator[Path]:
    """A folder for ssh's sockets, whose paths must be short."""
    folder = tempfile.mkdtemp(prefix="edge-tl-")
    if len(os.fsencode(folder)) > _SOCKET_LENGTH:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="edge-tl-", dir="/tmp")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _connect(command: list[str], device: RemoteDevice, sockets: Iterator[Path]) -> Connection:
    return Connection(command, device.host, next(sockets))
