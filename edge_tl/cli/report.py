"""The verb report: the page and the Markdown of a run or a bundle. It needs the `host` extra."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli._browser import Open, show_page
from edge_tl.cli._console import finish
from edge_tl.cli._latest import latest_result
from edge_tl.cli._options import Debug, Json
from edge_tl.cli._table import explained, grid
from edge_tl.device.errors import BadInput

if TYPE_CHECKING:
    from edge_tl.host.reports.pair_record import PairRecord


def report(
    run_or_bundle: Annotated[
        Path, typer.Argument(help="A run or a bundle, or latest.", callback=latest_result)
    ],
    other: Annotated[
        Path | None,
        typer.Argument(
            help="Another of its kind: both side by side.", callback=lambda it: it and latest_result(it)
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Where to write it; default beside, of two reports/A-and-B."),
    ] = None,
    open_: Open = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write an HTML page and Markdown; of two, what they differ in."""
    from edge_tl.device.bundle import RECORD, read_report
    from edge_tl.device.files import write_atomic
    from edge_tl.host.reports.markdown import bundle_markdown, run_markdown
    from edge_tl.host.reports.page import write_bundle_page, write_run_page
    from edge_tl.host.reports.sentences import recommendation, run_sentence
    from edge_tl.host.runs import checkpoint

    _check_source(run_or_bundle)
    if other is not None:
        return _report_two(run_or_bundle, other, out, open_=open_, as_json=json)
    folder = out or run_or_bundle
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
    return _finish(None, said, page, open_=open_, as_json=json)


def _finish(pair: PairRecord | None, said: str, page: Path, *, open_: bool, as_json: bool) -> int:
    if open_:
        show_page(page)
    result = (pair.to_json() if pair else {}) | {
        "report": str(page),
        "markdown": str(page.with_suffix(".md")),
    }
    text = f"{said}\nreport: {result['report']} and {result['markdown']}"
    return finish(result, text, as_json=as_json, then=f"next: open {page}")


def _report_two(a: Path, b: Path, out: Path | None, *, open_: bool, as_json: bool) -> int:
    from edge_tl.device.bundle import RECORD, read_report
    from edge_tl.device.files import write_atomic
    from edge_tl.host.reports.markdown import pair_markdown
    from edge_tl.host.reports.pair_page import (
        difference_table,
        pair_lines,
        write_bundles_page,
        write_runs_page,
    )
    from edge_tl.host.reports.pairing import compare_bundles, compare_runs
    from edge_tl.host.runs import checkpoint

    _check_source(b)
    if a.samefile(b):
        raise BadInput(f"{a} and {b} are the same folder. Give two different ones.")
    kinds = [(each / RECORD).is_file() for each in (a, b)]
    if kinds[0] != kinds[1]:
        bundle, run = (a, b) if kinds[0] else (b, a)
        checkpoint.read_run(run)  # told where it is neither
        raise BadInput(f"{bundle} is a bundle and {run} a run. Export the run, or give two of a kind.")
    folder = out or Path("reports") / f"{a.resolve().name}-and-{b.resolve().name}"
    if any(folder.exists() and folder.samefile(each) for each in (a, b)):
        raise BadInput(f"--out {folder}: its own report is there. Choose another folder.")
    _check_out(folder, None)
    page = folder / "report.html"
    if kinds[0]:
        bundles = read_report(a), read_report(b)
        pair = compare_bundles(*bundles)
        write_bundles_page(*bundles, pair, page)
    else:
        runs = checkpoint.read_run(a), checkpoint.read_run(b)
        pair = compare_runs(*runs)
        write_runs_page(*runs, pair, page)
    write_atomic(page.with_suffix(".md"), pair_markdown(pair).encode())
    table = difference_table(pair).telling()
    said = "\n".join(
        [explained(grid(table.headings, table.cells, left=2)), "", *pair_lines(pair), pair.sentence]
    )
    return _finish(pair, said, page, open_=open_, as_json=as_json)


def _check_source(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(
            f"no such run or bundle: {folder}. Give the folder that `edge-tl finetune` or `export` wrote."
        )


def _check_out(out: Path, source: Path | None) -> None:
    """Raises `BadInput` where a report would be written over what is not known to be one of ours."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"--out {out}: a file is there. Choose a folder.")
    from edge_tl.device.files import check_can_make

    check_can_make(out, "--out")
    if not out.is_dir() or (source is not None and out.samefile(source)):
        return
    if any((out / name).is_file() for name in ("bundle.json", "run.json")):
        raise BadInput(
            f"--out {out}: a bundle or run with a report of its own is there. Choose another folder."
        )
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
