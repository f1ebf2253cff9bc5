"""A verb's help: options in groups, with words for what they take, with or without Rich. Knows no verb."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

HELP = {"help_option_names": ["-h", "--help"]}
# What some versions of Typer write in place of a word: <str>, <list[str]>.
_TYPE = re.compile(r"<(?:list\[)?(\w+)(?: range)?\]?>", re.IGNORECASE)
_WORDS = {"int": "N", "float": "NUMBER", "str": "TEXT", "path": "PATH"}


class Grouped(TyperCommand):
    """Options under the headings of their `rich_help_panel`; those without one come first."""

    def __init__(self, *args: Any, **more: Any) -> None:
        more["context_settings"] = HELP | (more.get("context_settings") or {})
        super().__init__(*args, **more)
        for parameter in self.params:
            if parameter.param_type_name == "argument":
                parameter.metavar = parameter.metavar or str(parameter.name).upper()

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
