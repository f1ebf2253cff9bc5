"""The verb web: a bundle as a static folder for browsers. It needs the `host` extra, but no PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._console import finish
from edge_tl.cli._options import Artifacts, BundlePath, Debug, Json
from edge_tl.cli._recipe_options import Overwrite
from edge_tl.cli._web_options import Npm, OrtWebPath, web_text

Out = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", show_default="BUNDLE-web, beside it", help="The folder that the page becomes."
    ),
]


def web(
    bundle: BundlePath,
    artifact: Artifacts = None,
    ort_web: OrtWebPath = None,
    npm: Npm = False,
    out: Out = None,
    overwrite: Overwrite = False,
    json: Json = False,
    debug: Debug = False,
) -> int:
    """Write a bundle as a static page that runs in a browser."""
    from edge_tl.cli._listeners import open_listener
    from edge_tl.device.bundle import read_bundle
    from edge_tl.host.web import ort_web as packages
    from edge_tl.host.web.write import check_web_folder, web_folder, write_web

    opened = read_bundle(bundle)
    folder = out or web_folder(bundle)
    check_web_folder(folder, overwrite=overwrite)
    with open_listener() as listener:
        taken = packages.ort_web(ort_web, npm=npm, listener=listener)
    record = write_web(opened, folder, taken, artifacts=artifact or (), overwrite=overwrite)
    text, then = web_text(record, folder)
    return finish(record.to_json() | {"web": str(folder)}, text, as_json=json, then=then)
