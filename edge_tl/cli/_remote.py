"""`--on` and `--targets`: a verb runs on other machines instead. The machinery is the host part's."""

from __future__ import annotations

import importlib

import typer

from edge_tl.cli._options import RemoteOptions
from edge_tl.device.errors import MissingExtra


def run_remotely(ctx: typer.Context, options: RemoteOptions) -> int:
    """Run the verb on the devices that were named; its exit code. Raises `MissingExtra` without the host part."""
    try:
        machinery = importlib.import_module("edge_tl.cli._remote_run")
    except ModuleNotFoundError as error:  # the verb itself runs without it
        name = str(error.name)
        missing = "the host part of edge-tl" if name.startswith("edge_tl.") else name
        raise MissingExtra(f"{missing}, which --on needs,", "host") from None
    code: int = machinery.run_on_devices(ctx, options)
    return code
