"""Sentences are broken at spaces, paths and commands are kept whole or go on as a shell reads them."""

from __future__ import annotations

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_tl.cli._wrap import wrapped

LONG = (
    "next: do not copy /data/exported/photos-mobilenet_v2 as it is: read the gates that failed in "
    "/data/exported/photos-mobilenet_v2/report.html; or take what passed alone: edge-tl slim "
    "/data/exported/photos-mobilenet_v2 --keep onnx-int8 --out /data/exported/photos-mobilenet_v2-passed"
)


@pytest.mark.parametrize("width", [50, 80, 120])
def test_no_line_is_wider_than_the_terminal_where_its_words_are_not(width: int) -> None:
    lines = wrapped(LONG, width).split("\n")
    assert len(lines) > 1
    for line in lines:
        assert len(line) <= width or " " not in line.strip().removesuffix(" \\")
    for path in (
        "/data/exported/photos-mobilenet_v2/report.html",
        "/data/exported/photos-mobilenet_v2-passed",
    ):
        assert any(path in line for line in lines)


def test_a_command_is_kept_on_one_line_where_one_holds_it() -> None:
    said = "a bundle is there already; to look at it: edge-tl report exported/photos --open"
    assert wrapped(said, 60).split("\n")[-1] == "edge-tl report exported/photos --open"


@pytest.mark.parametrize("width", [30, 50, 70])
def test_a_longer_command_goes_on_as_a_shell_reads_it(width: int) -> None:
    command = LONG[LONG.index("edge-tl") :]
    shown = wrapped(LONG, width)
    typed = shown[shown.index("edge-tl") :]
    assert shlex.split(typed.replace("\\\n", "")) == shlex.split(command)


@pytest.mark.parametrize("width", range(60, 110))
def test_a_command_after_a_colon_is_one_to_its_end(width: int) -> None:
    """A folder of one word in small letters was taken for the sentence's next word, and the rest lost its backslash."""
    command = "edge-tl finetune photos --epochs 30 --resume"
    typed = wrapped(f"interrupted. Nothing half-written is left. Go on with: {command}", width)
    lines = typed[typed.index("edge-tl") :].replace(" \\\n", " ")
    assert lines.split() == command.split()
    assert "\n" not in lines


def test_names_with_spaces_are_kept_whole() -> None:
    said = "no such bundle: /home/me/my holiday photos/exported, which is what was given there"
    assert any("my holiday photos" in line for line in wrapped(said, 40, ["my holiday photos"]).split("\n"))
    quoted = "next: copy it there: 'my holiday photos of summer' is the folder that the device needs"
    assert any("'my holiday photos of summer'" in line for line in wrapped(quoted, 50).split("\n"))


def test_a_pipe_and_rows_of_a_table_are_left_as_they_are() -> None:
    assert wrapped(LONG, None) == LONG
    row = "onnx-int8    94.97   0.68 [-0.02, 1.38]"
    assert wrapped(row, 20) == row
    assert wrapped("short\n\n  line", 80) == "short\n\n  line"


def test_what_goes_on_below_has_the_margin_of_its_line() -> None:
    assert wrapped("    one two three", 12) == "    one two\n    three"


@given(
    st.lists(st.text("abcdef/.-_", min_size=1, max_size=30), min_size=1, max_size=30), st.integers(10, 120)
)
def test_no_word_is_lost_or_broken(words: list[str], width: int) -> None:
    assert wrapped(" ".join(words), width).split() == words
