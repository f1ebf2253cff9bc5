"""What a name and a label may be; what would steer a terminal is refused with its escape."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edge_tl.device import names
from edge_tl.device.errors import BadInput
from edge_tl.device.text import printable

BAD = [
    "../x", "..", ".", "a/b", "a\\b", "/etc", "C:x", "a\x1b[31m", "a\nb", "", " a", "a ", "a.", ".hidden", "con",
    "NUL.txt", "com1", "x\u202ey", "x" * 201, "a*", "a?", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_name_a_folder_is_refused_with_its_escape(name: str):
    with pytest.raises(BadInput, match="name =") as caught:
        names.check_name(name, "name")
    str(caught.value).encode()
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["photos-mobilenet_v2", "été 🎱", "a.b", "lr0.001", "日本", "console"])
def test_plain_names_stay(name: str):
    assert names.check_name(name, "name") == name
    assert names.cleaned(name) == name


@settings(deadline=None)  # the first example can wait for a busy machine
@example("con." + "x" * 300)
@example("\xa0")
@example("\u3000\u200dé")
@given(st.text(max_size=300))
def test_a_cleaned_name_is_a_name_and_stays_in_its_folder(text: str):
    name = names.cleaned(text)
    assert names.fault_of_name(name) is None
    assert (Path("/runs") / name).parent == Path("/runs")


@given(st.binary(max_size=40))
def test_any_file_name_can_be_recorded(name: bytes):
    path = os.fsdecode(name)
    names.encodable(path).encode()
    if names.encodable(path) == path:
        assert os.fsencode(path) == name


@pytest.mark.parametrize(
    "label", ["a\x1b]0;x\x07", "a\nb", "a\rb", "\u202etxt", "\u2066x", "a\u2028b", "\x9bm"]
)
def test_labels_that_steer_a_terminal_are_refused_with_their_escape(label: str):
    with pytest.raises(BadInput, match="class name") as caught:
        names.check_label(label, "data")
    assert str(caught.value).isprintable()
    assert printable(label) in str(caught.value)


@pytest.mark.parametrize(
    "label", ["cat\u200b", "cat\u200d", "c\u200cat", "\ufeffcat", "ca\u00adt", "cat\U000e0041"]
)
def test_twins_of_a_label_and_of_a_name_are_refused(label: str):
    with pytest.raises(BadInput, match="not seen"):
        names.check_label(label, "data")
    with pytest.raises(BadInput, match="not printed"):
        names.check_name(label, "name")
    assert names.cleaned(label) == "cat"


@pytest.mark.parametrize("label", ["👩‍🔬", "می‌خواهم", "two  spaces", "'q'", "e\u0301"])
def test_labels_of_any_alphabet_stay(label: str):
    assert names.check_label(label, "data") == label


def test_two_forms_of_one_name_are_told_apart_by_their_code_points():
    assert names.same("e\u0301") == names.same("é")
    assert names.spelled("é") == "'é' (U+00E9)"
    assert names.spelled("e\u0301") == "'e\u0301' (U+0301)"
