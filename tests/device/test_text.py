"""What is shown of untrusted text: one line, nothing that acts on a terminal or reorders what stands around it."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tl.device.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rose", "rose"),
        ("Löwenzahn 蒲公英 🌼 نرجس", "Löwenzahn 蒲公英 🌼 نرجس"),
        ("\x1b[2J\x07", r"\x1b[2J\x07"),
        ("a\nb\r\tc", r"a\x0ab\x0d\x09c"),
        ("\x9b31m", r"\x9b31m"),
        ("safe\u202egpj.exe", r"safe\u202egpj.exe"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("zero\u200bwidth\ufeff", r"zero\u200bwidth\ufeff"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("tag\U000e0041", r"tag\U000e0041"),
        ("not\udcffutf8", r"not\udcffutf8"),
        ("", ""),
        (None, "None"),
    ],
)
def test_what_acts_is_spelt_out_and_the_rest_stays(text: object, shown: str) -> None:
    assert printable(text) == shown


def test_line_breaks_are_kept_where_a_text_has_lines() -> None:
    assert printable("a\n\x1bb", keep="\n") == "a\n\\x1bb"


@given(st.text(st.characters()))
def test_it_is_always_one_line_of_visible_characters_that_can_be_encoded(text: str) -> None:
    shown = printable(text)
    assert len(shown.splitlines()) <= 1
    assert not {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    shown.encode()
    assert printable(shown) == shown
