"""The table of runtimes: every row is whole, and the types that name runtimes name those of the table."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import get_args

from edge_tl.device.runtimes.base import FileRuntime
from edge_tl.device.runtimes.families import (
    BY_NAME,
    BY_PREFIX,
    BY_SUFFIX,
    FAMILIES,
    Extra,
    RuntimeName,
    files_of,
)
from edge_tl.device.runtimes.onnxruntime_ import OnnxRuntime
from edge_tl.device.runtimes.openvino_ import OpenVinoRuntime

# Which the type checker reads: the table names classes by text.
CLASSES: list[type[FileRuntime]] = [OnnxRuntime, OpenVinoRuntime]


def test_the_types_name_what_the_table_has() -> None:
    assert get_args(RuntimeName) == tuple(family.name for family in FAMILIES)
    assert get_args(Extra) == tuple(family.extra for family in FAMILIES)
    assert len(BY_NAME) == len(BY_PREFIX) == len(BY_SUFFIX) == len(FAMILIES)


def test_every_row_loads_its_class() -> None:
    assert [family.load() for family in FAMILIES] == CLASSES
    assert [kind.name for kind in CLASSES] == [family.name for family in FAMILIES]


def test_the_files_of_a_model() -> None:
    assert files_of(Path("a/m.onnx")) == [Path("a/m.onnx")]
    assert files_of(PurePosixPath("a/m.int8.xml")) == [
        PurePosixPath("a/m.int8.xml"),
        PurePosixPath("a/m.int8.bin"),
    ]
    assert files_of(Path("m.txt")) == [Path("m.txt")]


def test_an_extra_is_one_of_the_project() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text("utf-8")
    for family in FAMILIES:
        assert f'\n{family.extra} = ["{family.name}>=' in text
