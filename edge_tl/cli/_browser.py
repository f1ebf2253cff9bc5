"""`--open`: a page that was written, in the browser of whoever sits here."""

from __future__ import annotations

import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from edge_tl.cli._console import say

Open = Annotated[bool, typer.Option("--open", help="Open the page in a browser.")]


def show_page(page: Path) -> None:
    """Open `page`; where there is no browser, say where it lies."""
    screen = sys.platform in ("win32", "darwin") or os.environ.keys() & {
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "BROWSER",
    }
    if not screen or not webbrowser.open(page.resolve().as_uri()):
        say(f"no browser here: open {page} yourself")
