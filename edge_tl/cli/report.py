"""The verb report: the page and the Markdown of a run or a bundle. It needs the `host` extra."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._console import finish
from edge_tl.cli._options import Debug, Json
from edge_tl.device.errors import BadInput, BundleError

# What a record that is not ours makes of a page, whose parts take it as it is.
_NO_REPORT = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def report(
    run_or_bundle: Annotated[Path, typer.Argument(help="A run or a bundle.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write it; default beside.")
    ] = None,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write a report as Markdown and one self-contained HTML page."""
    from edge_tl.device import bundle as bundles
    from edge_tl.device.files import write_atomic
    from edge_tl.host.reports import page
    from edge_tl.host.reports.markdown import markdown, run_markdown, run_sentence, sentence
    from edge_tl.host.runs import checkpoint

    folder = out or run_or_bundle
    if not run_or_bundle.is_dir():
        raise BadInput(
            f"no such run or bundle: {run_or_bundle}. Give the folder that `edge-tl finetune` or `export` wrote."
        )
    _check_out(folder, run_or_bundle)
    if (run_or_bundle / bundles.RECORD).is_file():
        record = bundles.read_report(run_or_bundle).to_json()
        try:
            text, said = markdown(record), sentence(record)
            content = text.encode()
            page.write_page(record, folder / "report.html")
        except _NO_REPORT as error:
            # A device needs none of what only a report shows, so reading the bundle did not look at it.
            raise BundleError(
                f"{run_or_bundle}: its record is not as export writes it ({type(error).__name__}: {error}). Copy the "
                "bundle again, or export again."
            ) from None
    else:
        record = checkpoint.read(run_or_bundle).to_json()
        try:
            text, said = run_markdown(record), run_sentence(record)
            content = text.encode()
            page.write_run_page(record, folder / "report.html")
        except _NO_REPORT as error:
            raise BadInput(
                f"{run_or_bundle / checkpoint.RECORD}: not as finetune writes it ({type(error).__name__}: {error}). "
                "Fine-tune again."
            ) from None
    write_atomic(folder / "report.md", content)
    result = {"report": str(folder / "report.html"), "markdown": str(folder / "report.md")}
    return finish(
        result,
        f"{said}\nreport: {result['report']} and {result['markdown']}",
        as_json=json,
        then=f"next: open {folder / 'report.html'}",
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
