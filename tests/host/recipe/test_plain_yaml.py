"""YAML of somebody else's: bounded before it is built, and nothing dropped or taken for something else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_tl.device.errors import BadInput
from edge_tl.host.recipe import load as recipes
from edge_tl.host.recipe import plain_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def refused(text: str) -> str:
    with pytest.raises(BadInput) as caught:
        plain_yaml.parse_yaml(text, "x.yaml")
    assert str(caught.value).startswith("x.yaml")
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (BOMB, ["line 2", "an alias, *a"]),
        ("a: &x [*x]\n", ["an alias"]),
        ("train:\n  epochs: 1\n  lr: 2\n  epochs: 3\n", ["line 4", "'epochs'", "line 2"]),
        ("seed: 1\n'seed': 2\n", ["line 2", "'seed'"]),
        ("a: 1\nname: 2024-01-01\n", ["line 2", "2024-01-01 is a date", '"2024-01-01"']),
        ("name: 2024-01-01 10:00:00\n", ["is a date"]),
        ("name: !!python/object/apply:os.system [id]\n", ["line 1", "a tag"]),
        ("name: !mine x\n", ["a tag, !mine"]),
        ("a: !!binary aGk=\n", ["a tag"]),
        ("<<: {a: 1}\n", ["line 1", "no word"]),
        ("? [a, b]\n: 1\n", ["no word"]),
        ("a: " + "[" * 5000 + "]" * 5000, ["levels deep"]),
        ("a: " + "{b: " * 5000 + "1" + "}" * 5000, ["levels deep"]),
        ("a: " + "9" * 5000, ["cannot be read"]),
        ("x" * (plain_yaml.LARGEST + 1), ["more than 256 KB"]),
        ("a: [1, 2\n", ["is not YAML"]),
        ("a: b: c\n", ["is not YAML"]),
        ("a: 1\n---\nb: 2\n", ["is not YAML"]),
        ("a: \x1b[31m\n", ["is not YAML"]),
    ],
)
def test_what_settings_do_not_have_is_refused_with_its_line(text: str, parts: list[str]):
    message = refused(text)
    for part in parts:
        assert part in message


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_a_pipe_is_not_waited_for_and_a_long_file_not_read_to_its_end(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(BadInput, match="not a file"):
        recipes.read_settings(tmp_path / "pipe.yaml")
    with pytest.raises(BadInput, match="not a file"):
        recipes.read_settings(tmp_path)
    with (tmp_path / "long.yaml").open("wb") as file:
        file.truncate(1 << 40)  # a terabyte, and sparse
    with pytest.raises(BadInput, match="more than 256 KB"):
        recipes.read_settings(tmp_path / "long.yaml")


def test_the_same_holds_for_one_value(tmp_path: Path):
    for assignment in ("name=2024-01-01", "name=!!binary aGk=", "head.C=[&a 1, *a]", "data={val: 1, val: 2}"):
        with pytest.raises(BadInput, match="--set"):
            recipes.override({}, assignment)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False)
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


class _NoAliases(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


@settings(deadline=None, max_examples=150)
@given(st.dictionaries(st.text(min_size=1, max_size=6), PLAIN, max_size=5))
def test_plain_settings_are_read_as_yaml_reads_them(value: dict[str, Any]):
    text = yaml.dump(value, Dumper=_NoAliases, allow_unicode=True)
    assert plain_yaml.parse_yaml(text, "x") == yaml.safe_load(text)


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("ab:-[]{}&*!?|>'\"%@`#, \n\t0123456789.~"), max_size=60))
def test_any_text_is_a_value_or_a_sentence(text: str):
    said = ""
    try:
        value = plain_yaml.parse_yaml(text, "x")
    except BadInput as error:
        said = str(error)
    if said:
        assert said.startswith("x")
        assert said.isprintable()
    else:
        assert value == yaml.safe_load(text)
