"""`--on` and `--targets`, for the verbs of the device: the same verb with the same options, on other machines.

It turns what was typed into words for the device, draws a line per device, and prints; it must hold no other logic.
"""

from __future__ import annotations

import enum
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edge_tl.cli import _bench_text
from edge_tl.cli._console import finish, milliseconds, say
from edge_tl.cli._table import grid
from edge_tl.device.errors import EXIT_GATE_FAILED, BadInput, MissingExtra
from edge_tl.device.listener import Event, Silent

if TYPE_CHECKING:
    from edge_tl.host.remote.upload import Tree

On = Annotated[
    list[str] | None,
    typer.Option(
        "--on", metavar="HOST", help="Run on this device, over ssh; repeatable. --out is then a folder."
    ),
]
Targets = Annotated[
    Path | None, typer.Option("--targets", help="A targets.yaml: all its devices, or those that --on names.")
]
Wheels = Annotated[
    Path | None, typer.Option("--wheels", help="With --on: a folder of wheels, for devices without internet.")
]
Ssh = Annotated[
    str, typer.Option("--ssh", envvar="EDGE_TL_SSH", help="With --on: the ssh command, e.g. 'ssh -F FILE'.")
]

_OWN = {"on", "targets", "wheels", "ssh", "out", "save", "json", "debug", "bundle"}
_HERE = {"compare", "plot", "fail_if_slower"}  # what is done with results, at the desk
_ENDED = ("done", "failed")


def asked(ctx: typer.Context) -> bool:
    """Whether the verb is to run elsewhere. Raises `BadInput` for --wheels without a device."""
    given = ctx.params
    if given["wheels"] and not (given["on"] or given["targets"]):
        raise BadInput("--wheels is for devices: name one with --on HOST, or give --targets FILE.")
    return bool(given["on"] or given["targets"])


def away(ctx: typer.Context) -> int:
    """Run the verb on the devices that were named, and print what came home."""
    try:
        from edge_tl.host.remote import inventory, run_all, upload, wheel
        from edge_tl.host.remote import job as jobs
    except ModuleNotFoundError as error:  # the verb itself runs without it, on a device
        raise MissingExtra(f"{error.name}, which --on needs,", "host") from None

    given = ctx.params
    verb = str(ctx.info_name)
    chosen = inventory.choose(given["on"] or (), given["targets"])
    bundle = given.get("bundle")
    bundles = [bundle] if isinstance(bundle, Path) else bundle or []
    if len(bundles) > 1:
        raise BadInput(f"{verb} --on takes one bundle, not {len(bundles)}.")
    words: list[str | Tree] = [*map(upload.of_bundle, bundles), *forwarded(ctx)]
    packages = upload.of_path(given["wheels"], suffix=".whl") if given["wheels"] else None
    job = jobs.Job(verb, tuple(words), wheel.build(), packages)
    with Lines(chosen) as lines:
        result = run_all.run(
            chosen, job, ssh=given["ssh"], out=given["out"], save=given.get("save", False), listener=lines
        )
    for device in result.devices:
        for path in device.saved:
            say(f"{device.name}: saved {path}")
    code = 0 if result.passed else EXIT_GATE_FAILED
    shown = result.to_json()
    return finish(shown, summary(shown), as_json=given["json"], code=code)


def forwarded(ctx: typer.Context) -> list[str | Tree]:
    """The options that were typed, as words for the device; a path becomes the tree that it names."""
    from edge_tl.host.remote import upload

    words: list[str | Tree] = []
    for option in ctx.command.params:
        name = str(option.name)
        source = ctx.get_parameter_source(name)
        if name in _OWN or source is None or source.name != "COMMANDLINE":
            continue
        if name in _HERE:
            raise BadInput(f"{option.opts[0]} is for results that are here: run with --on and --save first.")
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


def summary(result: dict[str, Any]) -> str:
    """What came home from every device, side by side; what did not, below."""
    rows: list[list[str]] = []
    headings, of = _TABLES[result["verb"]]
    for entry in result["devices"]:
        if "result" in entry and entry["result"].get("kind", "latency") == "latency":
            with suppress(KeyError, TypeError):  # a result of another shape is not for this table
                rows += [[entry["name"], *cells] for cells in of(entry["result"])]
    left, names = (len(headings) + 1, 3) if result["verb"] == "devices" else (2, 2)
    text = grid(["device", *headings], rows, left=left, names=names)
    text = text + "\n" if rows else ""
    for entry in result["devices"]:
        for skipped in entry.get("result", {}).get("skipped", []):
            text += f"\n{entry['name']}: skipped {skipped['artifact']}: {skipped['reason']}"
        for warning in entry.get("result", {}).get("warnings", []):
            text += f"\n{entry['name']}: warning: {warning}"
        if entry["status"] == "error":
            text += f"\n{entry['name']}: FAILED at {entry['step']}: {entry['error']}"
        elif entry["status"] == "failed":
            text += f"\n{entry['name']}: FAILED a gate or budget; its result is home."
    if not rows and result["verb"] == "bench":  # at a pace, in parts: no two of these make one table
        for entry in result["devices"]:
            if "artifacts" in entry.get("result", {}):
                text += f"\n{entry['name']}\n{_bench_text.shown(entry['result'])}\n"
            elif "result" in entry:
                text += f"\n{entry['name']}: the result is JSON: give --out DIR or --json."
    home = sum("result" in entry for entry in result["devices"])
    return f"{text}\n{home} of {len(result['devices'])} results home.".lstrip("\n")


def _bench(result: dict[str, Any]) -> Iterator[list[str]]:
    for row in result["artifacts"]:
        ms, ran = row["latency_ms"], row["ran"]
        figures = [milliseconds(ms[p]) for p in ("p50", "p90", "p99")]
        yield [row["id"], *figures, str(ms["n"]), f"{ran['device']} {ran['precision']} x{ran['threads']}"]


def _verify(result: dict[str, Any]) -> Iterator[list[str]]:
    for artifact in dict.fromkeys(gate["artifact"] or "all" for gate in result["gates"]):
        gates = [gate for gate in result["gates"] if (gate["artifact"] or "all") == artifact]
        failed = [f"{gate['gate']}: {gate['reason']}" for gate in gates if not gate["passed"]]
        yield [artifact, f"{len(gates) - len(failed)} of {len(gates)}", failed[0] if failed else "pass"]


def _devices(result: dict[str, Any]) -> Iterator[list[str]]:
    machine = result["machine"]
    found = [f"{name} {entry['version']}" for name, entry in result["runtimes"].items() if entry]
    cores = f"{machine['cores_allowed']} of {machine['cores']}"
    yield [machine["cpu"], cores, " ".join(machine["isa"]), ", ".join(found) or "no runtime"]


_TABLES = {
    "bench": (["artifact", "p50 ms", "p90 ms", "p99 ms", "calls", "ran on"], _bench),
    "verify": (["artifact", "gates", "what they say"], _verify),
    "devices": (["CPU", "cores", "ISA", "runtimes"], _devices),
}


class Lines(Silent):
    """A line per device that changes in place on a terminal; elsewhere a line for each step. Called from threads."""

    def __init__(self, names: Iterable[str]) -> None:
        self._state = {name: ["waiting", ""] for name in names}
        self._began = time.monotonic()
        self._ended: dict[str, float] = {}
        self._lock = threading.Lock()
        self._live: Any = None
        self._console: Any = None
        self._spinner: Any = None

    def __enter__(self) -> Lines:
        if sys.stderr.isatty():
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
        from edge_tl.host.listeners import DeviceEvent

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
