"""A verb's help: options in groups, with words for what they take, with or without Rich, and its examples at the end.

Every verb has -q and -v by it.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from edge_tl.cli._console import NORMAL, QUIET, VERBOSE, detail, set_volume, volume
from edge_tl.cli._details import beginning
from edge_tl.cli._examples import EXAMPLES
from edge_tl.device.errors import BadInput

HELP = {"help_option_names": ["-h", "--help"]}
# What some versions of Typer write in place of a word: <str>, <list[str]>.
_TYPE = re.compile(r"<(?:list\[)?(\w+)(?: range)?\]?>", re.IGNORECASE)
_WORDS = {"int": "N", "float": "NUMBER", "str": "TEXT", "path": "PATH"}


def _choose(chosen: int, given: bool) -> None:
    if given and volume() not in (NORMAL, chosen):
        raise BadInput("-q says less and -v says more. Give one of them.")
    if given:
        set_volume(chosen)


_Quiet = Annotated[
    bool,
    typer.Option(
        "--quiet", "-q", expose_value=False, is_eager=True, callback=lambda given: _choose(QUIET, given),
        help="Say only the result, warnings and errors.",
    ),
]  # fmt: skip
_Verbose = Annotated[
    bool,
    typer.Option(
        "--verbose", "-v", expose_value=False, is_eager=True, callback=lambda given: _choose(VERBOSE, given),
        help="Say more: versions, every setting, each step's rate, what it took.",
    ),
]  # fmt: skip


class Grouped(TyperCommand):
    """Options under the headings of their `rich_help_panel`; those without one come first."""

    def __init__(self, *args: Any, **more: Any) -> None:
        more["context_settings"] = HELP | (more.get("context_settings") or {})
        super().__init__(*args, **more)
        self.params += _volume_options()
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                parameter.metavar = parameter.metavar or str(parameter.name).upper()

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; with -v after what it is about to do."""
        if volume() == VERBOSE:
            for line in beginning(ctx):
                detail(line)
        return super().invoke(ctx)

    def option_groups(self, ctx: Any) -> dict[str, list[tuple[str, str]]]:
        """What each heading lists: (option, meaning); Arguments and Options first."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = "Arguments" if parameter.param_type_name == "argument" else "Options"
                takes = _TYPE.sub(lambda found: _WORDS.get(found[1].lower(), "VALUE"), record[0])
                if parameter.param_type_name == "argument":  # its name says it all
                    takes = takes.partition(" ")[0]
                panel = getattr(parameter, "rich_help_panel", None) or title
                groups.setdefault(panel, []).append((takes, record[1]))
        return {title: rows for title, rows in groups.items() if rows}

    def format_options(self, ctx: Any, formatter: Any) -> None:
        for title, rows in self.option_groups(ctx).items():
            with formatter.section(title):
                formatter.write_dl(rows)

    def examples(self, ctx: Any) -> tuple[str, ...]:
        """Commands to copy."""
        return EXAMPLES.get(ctx.command_path.removeprefix("edge-tl "), ())

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The examples, one a line: a command that is copied is never broken."""
        if found := self.examples(ctx):
            with formatter.section("Example" if len(found) == 1 else "Examples"):
                for command in found:
                    formatter.write(f"{'':{formatter.current_indent}}{command}\n")


def _volume_options() -> list[Any]:
    """-q and -v as Typer makes them, whatever its version."""

    def asked(quiet: _Quiet = False, verbose: _Verbose = False) -> None:
        """Never called: it is what its options are read from."""

    maker = typer.Typer(add_completion=False, rich_markup_mode=None)
    maker.command()(asked)
    return [each for each in typer.main.get_command(maker).params if each.name in ("quiet", "verbose")]
