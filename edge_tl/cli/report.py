"""The verb report: the page and the Markdown of a run or a bundle. It needs the `host` extra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._browser import Open, show_page
from edge_tl.cli._console import finish
from edge_tl.cli._latest import latest_result
from edge_tl.cli._options import Debug, Json
from edge_tl.device.errors import BadInput


def report(
    run_or_bundle: Annotated[
        Path, typer.Argument(help="A run or a bundle, or latest.", callback=latest_result)
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it; default beside.")
    ] = None,
    open_: Open = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write a report as Markdown and one self-contained HTML page."""
    from edge_tl.device.bundle import RECORD, read_report
    from edge_tl.device.files import write_atomic
    from edge_tl.host.reports.markdown import bundle_markdown, run_markdown
    from edge_tl.host.reports.page import write_bundle_page, write_run_page
    from edge_tl.host.reports.sentences import recommendation, run_sentence
    from edge_tl.host.runs import checkpoint

    folder = out or run_or_bundle
    if not run_or_bundle.is_dir():
        raise BadInput(
            f"no such run or bundle: {run_or_bundle}. Give the folder that `edge-tl finetune` or `export` wrote."
        )
    _check_out(folder, run_or_bundle)
    page = folder / "report.html"
    if (run_or_bundle / RECORD).is_file():
        bundle = read_report(run_or_bundle)
        text, said = bundle_markdown(bundle), recommendation(bundle)
        content = text.encode()
        write_bundle_page(bundle, page)
    else:
        run = checkpoint.read_run(run_or_bundle)
        text, said = run_markdown(run), run_sentence(run)
        content = text.encode()
        write_run_page(run, page)
    write_atomic(folder / "report.md", content)
    if open_:
        show_page(page)
    result = {"report": str(page), "markdown": str(folder / "report.md")}
    return finish(
        result,
        f"{said}\nreport: {result['report']} and {result['markdown']}",
        as_json=json,
        then=f"next: open {page}",
    )


def _check_out(out: Path, source: Path) -> None:
    """Raises `BadInput` where a report would be written over what is not known to be one of ours."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out}: a file is there. Choose a folder.")
    if not out.is_dir() or out.samefile(source):
        return
    page, text = out / "report.html", out / "report.md"
    for file, ours in ((page, _is_page(page)), (text, _is_page(page) and _begins(text, b"# "))):
        if (file.exists() or file.is_symlink()) and not ours:
            raise BadInput(
                f"--out {out}: {file.name} is there, and nothing says that edge-tl made it. Choose another folder."
            )


def _is_page(file: Path) -> bool:
    return _begins(file, b"<!doctype html>", " · edge-tl</title>".encode())


def _begins(file: Path, start: bytes, soon: bytes = b"") -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        head = opened.read(4096)
    return head.startswith(start) and soon in head
