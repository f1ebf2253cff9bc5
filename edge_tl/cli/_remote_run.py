"""A verb with `--on` or `--targets`: what was typed becomes words for the devices, a line shows each one's progress.

It needs the host part.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import typer

from edge_tl.cli import _bench_text, _tune_text
from edge_tl.cli._console import QUIET, finish, say, volume
from edge_tl.cli._latency_text import percentiles
from edge_tl.cli._listeners import is_drawn_on
from edge_tl.cli._options import RemoteOptions
from edge_tl.cli._table import grid
from edge_tl.device.errors import EXIT_GATE_FAILED, BadInput
from edge_tl.device.listener import Event, Silent
from edge_tl.device.records.bench import ArtifactTiming, BenchResult
from edge_tl.device.records.devices import DevicesResult
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.records.verification import VerifyResult
from edge_tl.host.listeners import DeviceEvent
from edge_tl.host.remote import inventory, picks, run_all, upload, wheel
from edge_tl.host.remote.job import DeviceResult, Job
from edge_tl.host.remote.run_all import RemoteResult
from edge_tl.host.remote.upload import Tree

VerbResult = BenchResult | VerifyResult | DevicesResult | TunedRecord
_OWN = {"on", "targets", "wheels", "ssh", "out", "save", "json", "debug", "quiet", "verbose", "bundle"}
_HERE = {"compare", "plot", "fail_if_slower", "track"}  # what is done with results on the host
_ENDED = ("done", "failed")
_HEADINGS = {
    "bench": ["artifact", "p50 ms", "p90 ms", "p99 ms", "calls", "ran on"],
    "verify": ["artifact", "gates", "what they say"],
    "devices": ["CPU", "cores", "ISA", "runtimes"],
    "tune": ["pick", "p50 ms [95 %]", "p95 ms", "before the next", "remarks"],
}


def run_on_devices(ctx: typer.Context, options: RemoteOptions) -> int:
    """Run the verb on the devices that were named, print their results, and return the exit code."""
    given = ctx.params
    verb = str(ctx.info_name)
    chosen = inventory.choose(options.on or (), options.targets)
    bundle = given.get("bundle")
    bundles = [bundle] if isinstance(bundle, Path) else bundle or []
    if len(bundles) > 1:
        raise BadInput(f"{verb} --on takes one bundle, not {len(bundles)}.")
    words: list[str | Tree] = [*map(upload.of_bundle, bundles), *forwarded(ctx)]
    packages = upload.of_path(options.wheels, suffix=".whl") if options.wheels else None
    receive = picks.bring_home(bundles[0]) if verb == "tune" else None
    job = Job(verb, tuple(words), wheel.build_wheel(), packages, receive)
    with DeviceLines(chosen) as lines:
        result = run_all.run_on_all(
            chosen, job, ssh=options.ssh, out=given["out"], save=given.get("save", False), listener=lines
        )
    for device in result.devices:
        for path in device.saved:
            say(f"{device.name}: saved {path}")
    code = 0 if result.passed else EXIT_GATE_FAILED
    return finish(result.to_json(), summary(result), as_json=given["json"], code=code)


def forwarded(ctx: typer.Context) -> list[str | Tree]:
    """The options that were typed, as words for the device; a path becomes the tree that it names."""
    words: list[str | Tree] = []
    for option in ctx.command.params:
        name = str(option.name)
        source = ctx.get_parameter_source(name)
        if name in _OWN or source is None or source.name != "COMMANDLINE":
            continue
        if name in _HERE:
            raise BadInput(
                f"{option.opts[0]} is for results that are here. Leave it out, or run with --on and --save first."
            )
        value = ctx.params[name]
        if isinstance(value, bool):
            words.append((option.opts if value else option.secondary_opts)[0])
            continue
        long = next(spelling for spelling in option.opts if spelling.startswith("--"))
        for one in value if isinstance(value, list | tuple) else [value]:
            if isinstance(one, Path):
                words += [long, upload.of_path(one)]
            else:
                words.append(f"{long}={one.value if isinstance(one, enum.Enum) else one}")
    return words


def summary(result: RemoteResult) -> str:
    """The results of every device side by side; below them what was skipped, warned of or failed."""
    records = {device.name: _record(result.verb, device) for device in result.devices}
    rows = [[name, *cells] for name, record in records.items() for cells in _rows(record)]
    left, names = (len(_HEADINGS[result.verb]) + 1, 3) if result.verb == "devices" else (2, 2)
    parts = []
    if rows:
        parts.append(grid(["device", *_HEADINGS[result.verb]], rows, left=left, names=names) + "\n")
    parts += [line for device in result.devices for line in _remarks(device, records[device.name])]
    if not rows and result.verb == "bench":  # at a rate, in parts: no two of these make one table
        parts += [
            f"{device.name}{_alone(records[device.name])}" for device in result.devices if device.result
        ]
    arrived = sum(device.result is not None for device in result.devices)
    return "\n".join([*parts, f"{arrived} of {len(result.devices)} devices returned a result."])


def _record(verb: str, device: DeviceResult) -> VerbResult | None:
    """None where there is no result, or one of another version."""
    if device.result is None:
        return None
    try:
        if verb == "bench":
            return BenchResult.from_json(device.result, newer_keys=True)
        if verb == "tune":
            return TunedRecord.from_json(device.result, newer_keys=True)
        if verb == "verify":
            return VerifyResult.from_json(device.result, newer_keys=True)
        return DevicesResult.from_json(device.result, newer_keys=True)
    except BadInput:
        return None


def _remarks(device: DeviceResult, record: VerbResult | None) -> Iterator[str]:
    if isinstance(record, BenchResult | VerifyResult | TunedRecord):
        for skipped in record.skipped:
            yield f"{device.name}: skipped {skipped.artifact}: {skipped.reason}"
        for warning in record.warnings:
            yield f"{device.name}: warning: {warning}"
    if device.status == "error":
        yield f"{device.name}: FAILED at {device.step}: {device.error}"
    elif device.status == "failed":
        yield f"{device.name}: FAILED a gate or budget; its result was returned."


def _alone(record: VerbResult | None) -> str:
    if isinstance(record, BenchResult):
        return f"\n{_bench_text.result_text(record)}\n"
    return ": the result is JSON: give --out DIR or --json."


def _rows(record: VerbResult | None) -> Iterator[list[str]]:
    """The cells of the table that compares devices, without the device's name."""
    if isinstance(record, BenchResult):
        if record.kind == "latency":
            yield from map(_bench_row, record.artifacts)
    elif isinstance(record, VerifyResult):
        yield from _verify_rows(record)
    elif isinstance(record, TunedRecord):
        yield _tune_text.row(record)
    elif record is not None:
        found = [f"{name} {offer.version}" for name, offer in record.runtimes.items() if offer]
        here = record.machine
        cores = f"{here.cores_allowed} of {here.cores}"
        yield [str(here.cpu), cores, " ".join(here.isa), ", ".join(found) or "no runtime"]


def _bench_row(row: ArtifactTiming) -> list[str]:
    ms, ran = row.latency_ms, row.ran
    return [row.id, *percentiles(ms), str(ms.n), f"{ran.device} {ran.precision} x{ran.threads}"]


def _verify_rows(record: VerifyResult) -> Iterator[list[str]]:
    for artifact in dict.fromkeys(gate.artifact or "all" for gate in record.gates):
        gates = [gate for gate in record.gates if (gate.artifact or "all") == artifact]
        failed = [f"{gate.gate}: {gate.reason}" for gate in gates if not gate.passed]
        yield [artifact, f"{len(gates) - len(failed)} of {len(gates)}", failed[0] if failed else "pass"]


class DeviceLines(Silent):
    """A line per device that changes in place on a terminal; elsewhere a line for each step. Called from threads."""

    def __init__(self, names: Iterable[str]) -> None:
        self._state = {name: ["waiting", ""] for name in names}
        self._began = time.monotonic()
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()
        self._live: Any = None
        self._console: Any = None
        self._spinner: Any = None

    def __enter__(self) -> DeviceLines:
        if is_drawn_on() and volume() > QUIET:
            from rich.console import Console
            from rich.live import Live
            from rich.spinner import Spinner

            console = self._console = Console(stderr=True)
            self._spinner = Spinner("dots")
            self._live = Live(console=console, get_renderable=self._screen, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def event(self, event: Event) -> None:
        if not isinstance(event, DeviceEvent):
            return
        with self._lock:
            new = self._state[event.name][0] != event.step
            self._state[event.name] = [event.step, event.detail]
            if event.step in _ENDED:
                self._ended[event.name] = time.monotonic() - self._began
            if not self._live and new:
                say(f"{event.name}: {event.step}{f': {event.detail}' if event.detail else ''}")

    def _screen(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 1), expand=True)
        table.width = self._console.width - 3  # room for the ^C that a terminal writes at the end
        for width in (1, max(len(name) for name in self._state), 6, len("environment")):
            table.add_column(no_wrap=True, width=width)
        table.add_column(ratio=1)
        now = time.monotonic() - self._began
        for name, (step, note) in self._state.items():
            sign, style = (self._spinner.render(now).plain, "cyan")
            if step in _ENDED:
                sign, style = ("✓", "green") if (step, note) == ("done", "passed") else ("✗", "red")
            took = f"{self._ended.get(name, now):4.0f} s"
            # A reason is shown whole; what a step says while it works is cut to one line.
            line = Text(
                note, "dim" if style == "cyan" else style, no_wrap=step != "failed", overflow="ellipsis"
            )
            table.add_row(Text(sign, style), Text(name, "bold"), Text(took, "cyan"), Text(step), line)
        return table
