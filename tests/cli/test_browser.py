"""`--open`: the page in a browser, or where it lies."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RunCli = Callable[..., Any]
TINY = Path(__file__).parents[1] / "records" / "bundle-of-version-2"


def test_a_page_is_opened_and_without_a_screen_named(
    run_cli: RunCli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def browse(url: str) -> bool:
        opened.append(url)
        return True

    monkeypatch.setattr(webbrowser, "open", browse)
    monkeypatch.setenv("BROWSER", "any")
    done = run_cli("report", TINY, "--out", "page of mine", "--open")
    assert done.code == 0, done.err
    assert opened == [(tmp_path / "page of mine" / "report.html").as_uri()]
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    done = run_cli("report", TINY, "--out", "page of mine", "--open")
    assert "no browser here: open page of mine/report.html yourself" in done.err
    assert len(opened) == 1
