"""The verb demo: the whole chain on data that the package brings. It needs the `host` extra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._browser import Open, show_page
from edge_tl.cli._bundle_text import bundle_text
from edge_tl.cli._console import finish
from edge_tl.cli._options import Debug, Json, WaitQuiet, wait_quiet_s
from edge_tl.device.errors import EXIT_GATE_FAILED


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Where everything goes.")] = Path("demo"),
    wait_quiet: WaitQuiet = None,
    open_: Open = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Run every step on embedded digits: offline, about two minutes."""
    from edge_tl.cli._training_listeners import open_training_listener
    from edge_tl.device.bundle import read_report
    from edge_tl.host import demo as digits

    wait_s = wait_quiet_s(wait_quiet)
    with open_training_listener() as listener:
        record = digits.run_demo(out, wait_quiet_s=wait_s, listener=listener)
    if open_:
        show_page(Path(record["report"]))
    return finish(
        record,
        f"{bundle_text(read_report(Path(record['bundle'])))}\nreport: {record['report']}",
        as_json=json,
        code=0 if record["passed"] else EXIT_GATE_FAILED,
        then=f"next: edge-tl finetune FOLDER, with a folder of your own images; or open {record['report']}",
    )
