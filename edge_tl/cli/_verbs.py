"""The verbs by name, each imported when it is run: `--help` and completion need the names and one line each."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from edge_tl.cli._help import Grouped
from edge_tl.device.errors import MissingExtra


@dataclass(frozen=True)
class Verb:
    """`summary` is the first line of its help; it lies in `edge_tl.cli.MODULE`. `on_device`: it needs no host part."""

    module: str
    summary: str
    on_device: bool = False


VERBS = {
    "run": Verb("run", "Fine-tune, export, verify, time and report in one go."),
    "finetune": Verb("finetune", "Fine-tune a classifier on your own images."),
    "import": Verb("import_", "Make a run of a classifier that was trained elsewhere."),
    "export": Verb("export", "Export a run to ONNX and OpenVINO and check it against PyTorch."),
    "verify": Verb("verify", "Check that this machine gives the exported model's answers.", on_device=True),
    "bench": Verb("bench", "Measure latency on this machine, beside PyTorch if installed.", on_device=True),
    "tune": Verb("tune", "Pick the fastest right artifact for this machine.", on_device=True),
    "gate": Verb("gate", "Pass or fail a bundle in CI, with a JUnit file.", on_device=True),
    "predict": Verb("predict", "Classify images or a video with a bundle.", on_device=True),
    "serve": Verb("serve", "Answer over HTTP what predict answers.", on_device=True),
    "report": Verb("report", "Write an HTML page and Markdown; of two, what they differ in."),
    "web": Verb("web", "Write a bundle as a static page that runs in a browser."),
    "slim": Verb("slim", "Make a smaller bundle with some of the artifacts.", on_device=True),
    "snippet": Verb("snippet", "Print a program in another language for this bundle.", on_device=True),
    "diagnose": Verb("diagnose", "Name the mistake in your own pipeline.", on_device=True),
    "devices": Verb("devices", "Show this machine's CPU, execution providers and devices.", on_device=True),
    "compare": Verb("compare", "Fine-tune several models, time each, pick the best in a budget."),
    "models": Verb("models", "List the models that can be fine-tuned."),
    "recipes": Verb("recipes", "The recipes: ls, show, copy, check."),
    "demo": Verb("demo", "Run every step on embedded digits: offline, about two minutes."),
}


class LazyGroup(TyperGroup):
    """A group whose commands are placeholders until one is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Where only the device's part is installed, the device's verbs."""
        host = importlib.util.find_spec("edge_tl.host") is not None
        return [name for name in self.commands if host or name not in VERBS or VERBS[name].on_device]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, imported. Raises `MissingExtra` for a verb of the host where only the device's part is."""
        return load(cmd_name) if cmd_name in VERBS else super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """The names with the summaries; no verb is imported."""
        names = self.list_commands(ctx)
        room = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.commands[name].get_short_help_str(room)) for name in names])


def add_placeholders(app: typer.Typer) -> None:
    """Register every verb with its name and summary alone."""
    for name, verb in VERBS.items():
        app.command(name, help=verb.summary)(_placeholder)


def _placeholder() -> None:
    """Stands for a verb until `LazyGroup` imports it."""


def load(name: str) -> Any:
    """The command of a verb. Raises `MissingExtra`."""
    verb = VERBS[name]
    path = f"edge_tl.cli.{verb.module}"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        raise MissingExtra(f"the host part of edge-tl, which {name} needs,", "host") from None
    if isinstance(app := getattr(module, "app", None), typer.Typer):
        return typer.main.get_command(app)
    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command(name, cls=Grouped)(getattr(module, verb.module))
    return typer.main.get_command(single)
