"""What a verb prints steers no terminal; the JSON holds it as it is."""

from __future__ import annotations

import pytest

from edge_tl.cli import _console


def test_names_that_steer_a_terminal_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "a\x1b[2Jb\x07\u202ec\u2028"
    _console.say(evil)
    _console.complain(evil)
    _console.finish({"label": evil}, f"{evil}\nsecond 👩\u200d🌾", as_json=False, then=evil)
    out, err = capsys.readouterr()
    for text in (out, err):
        assert not set(text) & set("\x1b\x07\u202e\u2028")
        assert r"a\x1b[2Jb\x07\u202ec\u2028" in text
    assert "second 👩\u200d🌾" in out
