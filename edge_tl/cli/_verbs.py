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
    "finetune": Verb("finetune", "Fine-tune a classifier on your own images."),
    "models": Verb("models", "The models that can be fine-tuned."),
    "export": Verb(
        "export", "Export a run to ONNX and OpenVINO, prove it against PyTorch, and pack the bundle."
    ),
    "report": Verb("report", "Write the report as Markdown and as one self-contained HTML page."),
    "demo": Verb(
        "demo", "The whole chain on handwritten digits: no network, no data, about two minutes."
    ),
    "import": Verb("import_", "Make a run of a classifier that was trained elsewhere."),
    "compare": Verb("compare", "Compare models, strategies and learning rates on the same images."),
    "verify": Verb(
        "verify",
        "Prove, on this machine, that a bundle is still the model it was exported from.",
        on_device=True,
    ),
    "predict": Verb("predict", "Classify images with a bundle.", on_device=True),
    "devices": Verb(
        "devices",
        "What this machine has: CPU instructions, execution providers, OpenVINO devices.",
        on_device=True,
    ),
    "bench": Verb(
        "bench", "Measure latency on this machine, beside PyTorch where it is installed.", on_device=True
    ),
    "slim": Verb("slim", "Make a smaller bundle with some of the artifacts, sealed anew.", on_device=True),
    "recipes": Verb("recipes", "The recipes: ls, show, copy, check."),
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
