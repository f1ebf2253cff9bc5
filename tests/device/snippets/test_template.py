"""Parts and names of a template; what is inserted is text and nothing else."""

from __future__ import annotations

import pytest

from edge_tl.device.snippets.template import fill


def test_parts_are_there_or_not() -> None:
    template = "a\n@@if one\nb\n@@if two\nc\n@@else\nd\n@@end\n@@else\ne\n@@end\nf"
    assert fill(template, {"one", "two"}, {}) == "a\nb\nc\nf\n"
    assert fill(template, {"one"}, {}) == "a\nb\nd\nf\n"
    assert fill(template, {"two"}, {}) == "a\ne\nf\n"


def test_what_is_inserted_is_not_read_again() -> None:
    values = {"one": "@@two@@ ${two} \\1 \\g<0>\n@@if x", "two": "no"}
    assert fill("<@@one@@>", set(), values) == f"<{values['one']}>\n"


def test_a_name_without_a_value_and_a_part_without_an_end_are_refused() -> None:
    with pytest.raises(KeyError, match="height"):
        fill("@@height@@", set(), {})
    with pytest.raises(ValueError, match="without @@end"):
        fill("@@if a", set(), {})
    with pytest.raises(ValueError, match="without @@if"):
        fill("@@end", set(), {})
