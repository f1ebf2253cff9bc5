"""A verb whose help lists its options in groups, with or without Rich; it must not know any verb."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Grouped(TyperCommand):
    """Options under the headings of their `rich_help_panel`; those without one come first."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                title = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or title, []).append(record)
        first = [title for title in ("Arguments", "Options") if title in groups]
        for title in [*first, *(title for title in groups if title not in first)]:
            with formatter.section(title):
                formatter.write_dl(groups[title])
