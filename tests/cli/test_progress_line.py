"""The line that says how far work is."""

from __future__ import annotations

import pytest

from edge_tl.cli import _progress_line
from edge_tl.cli._progress_line import ProgressLine


def test_it_says_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(_progress_line, "perf_counter", lambda: now[0])
    with ProgressLine("images", 10_000, shown=True) as line:
        for second in range(1, 31):
            now[0] = float(second)
            line.update(second * 100, failed=2 if second > 5 else 0)
    shown = capsys.readouterr().err.split("\r\x1b[K")
    assert shown[1] == "100 of 10,000 images, 100/s, 0:01:39 left"
    assert shown[30] == "3,000 of 10,000 images, 100/s, 0:01:10 left, 2 not usable"
    assert shown[-1] == ""


def test_it_is_quiet_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("images", None) as line:
        line.update(1)
        line.clear()
    assert capsys.readouterr().err == ""
