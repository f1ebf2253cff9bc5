"""Tables in a terminal: nothing is lost, nothing is broken by the terminal itself."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from edge_tl.cli._table import GAP, SENTENCE, grid

WORDS = st.text("abc123[],.", min_size=1, max_size=9)
HEADINGS = ["artifact", "accuracy %", "drop pp [interval]", "p50 ms", "p90 ms", "p99 ms", "verdict"]
ROWS = [
    ["onnx-fp32", "86.96", "0.00 [-0.38, 0.38]", "6.42", "6.77", "—", "pass"],
    ["openvino-fp32", "86.96", "0.00 [-0.38, 0.38]", "5.58", "6.47", "—", "pass, recommended"],
]
GATES = ["", "gate", "artifact", "what it says"]
REASON = "9.4e-07 is the largest relative difference of the logits of 16 golden images, of 1e-04 allowed"


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    columns = draw(st.integers(2, 8))
    row = st.lists(WORDS, min_size=columns, max_size=columns)
    return draw(row), draw(st.lists(row, min_size=1, max_size=4))


def test_a_file_has_one_line_a_row() -> None:
    lines = grid(HEADINGS, ROWS).splitlines()
    assert len(lines) == 2 + len(ROWS)
    assert all(
        line.startswith(row[0]) and line.endswith(row[-1]) for line, row in zip(lines[2:], ROWS, strict=True)
    )


def test_columns_that_do_not_fit_go_below_with_their_names() -> None:
    first, second = grid(HEADINGS, ROWS, width=60).split("\n\n")
    assert first.splitlines()[0].split(GAP)[-1] == "p50 ms"
    assert [line.split()[0] for line in second.splitlines()] == [
        "artifact",
        "-" * 13,
        "onnx-fp32",
        "openvino-fp32",
    ]
    assert second.splitlines()[-1].endswith("pass, recommended")


def test_the_sentence_at_the_end_is_wrapped_in_its_column() -> None:
    rows = [["pass", "device", "onnx-fp32", REASON], ["FAIL", "pixels", "all", "short"]]
    lines = grid(GATES, rows, left=4, names=3, width=64).splitlines()
    begins = lines[0].index("what it says")
    assert " ".join(line[begins:] for line in lines[2:-1]) == REASON
    assert all(not line[:begins].strip() for line in lines[3:-1])
    assert lines[-1].startswith("FAIL  pixels  all")
    assert max(map(len, lines)) <= 64


@given(tables(), st.integers(1, 120), st.integers(1, 2))
def test_every_cell_is_there_and_every_line_fits_where_it_can(
    drawn: tuple[list[str], list[list[str]]], width: int, names: int
) -> None:
    headings, rows = drawn
    names = min(names, len(headings) - 1)
    text = grid(headings, rows, left=names, names=names, width=width)
    parts = [part.splitlines() for part in text.split("\n\n")]
    for k, row in enumerate([headings, None, *rows]):
        if row is not None:
            printed = [cells for part in parts for cells in [part[k].split()]]
            assert all(cells[:names] == row[:names] for cells in printed)
            assert [cell for cells in printed for cell in cells[names:]] == row[names:]
    widths = [max(len(row[i]) for row in [headings, *rows]) for i in range(len(headings))]
    least = sum(widths[:names]) + len(GAP) * names + max(widths[names:])
    assert max(map(len, text.splitlines())) <= max(width, least)
    assert all(size < SENTENCE for size in widths)  # so no cell was wrapped, and rows are lines


def test_it_asks_the_terminal_and_not_a_pipe() -> None:
    script = "import json, sys; from edge_tl.cli._table import grid; print(grid(*json.loads(sys.argv[1])))"
    command = [sys.executable, "-c", script, json.dumps([HEADINGS, ROWS])]
    environment = os.environ | {"COLUMNS": "60"}
    mine, theirs = pty.openpty()
    try:
        subprocess.run(command, stdout=theirs, env=environment, check=True, timeout=60)
        shown = os.read(mine, 1 << 16).decode().replace("\r\n", "\n")
    finally:
        os.close(mine)
        os.close(theirs)
    assert shown.rstrip() == grid(HEADINGS, ROWS, width=60)
    piped = subprocess.run(command, capture_output=True, env=environment, check=True, timeout=60)
    assert piped.stdout.decode().rstrip() == grid(HEADINGS, ROWS)


def test_a_last_column_with_nothing_in_it_is_drawn() -> None:
    """Remarks have no heading, and on a busy machine no trial has one."""
    assert grid(["model", ""], [["a", ""], ["b", ""]]).splitlines()[2:] == ["a", "b"]
