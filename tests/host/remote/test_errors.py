"""What a device says reaches the host as text, never as a command for its terminal."""

from __future__ import annotations

from edge_tl.host.remote import errors
from edge_tl.host.remote.ssh import _text


def test_a_devices_words_do_nothing_to_the_terminal() -> None:
    wild = "no \x1b[2Jmodel\x07 \u202exe.gpj"
    shown = r"no \x1b[2Jmodel\x07 \u202exe.gpj"
    assert str(errors.verb_failed("bench", 2, [f"error: {wild}"])) == shown
    assert shown in str(errors.agent_failed("files", wild))
    assert _text(f"{wild}\r\n".encode()) == shown
