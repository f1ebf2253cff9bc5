"""What the verbs web and export --web share: the options, and what they print. It needs the host part."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from edge_tl.cli._console import say
from edge_tl.device.errors import BadInput
from edge_tl.device.format import megabytes

if TYPE_CHECKING:
    from edge_tl.host.web.ort_web import OrtWeb
    from edge_tl.host.web.record import WebRecord

OrtWebPath = Annotated[
    Path | None,
    typer.Option(
        "--ort-web", help="onnxruntime-web: the .tgz that `npm pack` wrote, or the folder of `npm install`."
    ),
]
Npm = Annotated[
    bool, typer.Option("--npm", help="Call npm to fetch onnxruntime-web (33 MB) from its registry.")
]

Web = Annotated[
    bool,
    typer.Option(
        "--web",
        help="Write BUNDLE-web too, beside the bundle: a folder for browsers. Needs --ort-web or --npm.",
    ),
]


def taken_ort_web(
    web: bool, ort_web: Path | None, npm: bool, out: Path | None, *, overwrite: bool
) -> OrtWeb | None:
    """What --web needs, before minutes of export; None without it. Raises `BadInput`."""
    if not web:
        if ort_web or npm:
            raise BadInput(
                "--ort-web and --npm are for --web. Add it, or use edge-tl web on the finished bundle."
            )
        return None
    from edge_tl.cli._listeners import open_listener
    from edge_tl.host.web import ort_web as packages
    from edge_tl.host.web.write import check_web_folder, web_folder

    if out is not None:
        check_web_folder(web_folder(out), overwrite=overwrite)
    with open_listener() as listener:
        return packages.ort_web(ort_web, npm=npm, listener=listener)


def page_of_export(
    folder: Path, taken: OrtWeb | None, *, overwrite: bool, then: str
) -> tuple[dict[str, str], str]:
    """Write the page of the bundle that was just exported: `{"web": its folder}`, and what to say of it before `then`.
    Nothing where nobody asked, or where nothing passed that it could run, which is said."""
    from edge_tl.device.bundle import read_bundle
    from edge_tl.host.web.write import runnable_in_browsers, web_folder, write_web

    if taken is None:
        return {}, then
    bundle = read_bundle(folder)
    if not any(artifact.record.passed is not False for artifact in runnable_in_browsers(bundle)):
        say("warning: --web: no ONNX artifact passed, so there is no page")
        return {}, then
    place = web_folder(folder)
    text, see = web_text(write_web(bundle, place, taken, overwrite=overwrite), place)
    return {"web": str(place)}, f"{text}\n{see.replace('next:', 'see it:')}\n{then}"


def web_text(record: WebRecord, folder: Path) -> tuple[str, str]:
    """What was written, and what to type next."""
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    names = ", ".join(artifact.id for artifact in record.artifacts)
    runtime = f"{record.runtime.package} {record.runtime.version}"
    text = (
        f"page: {folder} ({megabytes(size)}): {names}; {len(record.golden.images)} golden images; {runtime}"
    )
    return text, f"next: python -m http.server -d {quote(str(folder))} 8000, then open http://localhost:8000/"
