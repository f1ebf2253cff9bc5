"""A report of somebody else's bundle: what its record cannot be is a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from device.conftest import build

from edge_tl.device.bundle import write_sealed


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report") / "tiny"
    build(root)
    return root


@pytest.mark.parametrize(
    "change",
    [
        {"gates": 5},
        {"gates": [5]},
        {"provenance": {"host": [1], "sets": 3}},
        {"recommendation": ["x"]},
        {"reference": {"accuracy": 0.5, "confusion": {"classes": 3, "cells": 7}}},
        {"reference": {"accuracy": 0.5, "confusion": {"classes": 3, "cells": [[9, 9, 1]]}}},
        {"reference": {"accuracy": 0.5, "confusion": [[1]]}},
    ],
    ids=str,
)
def test_a_record_that_no_report_can_be_made_of(
    run_cli: Callable[..., Any], tiny: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    record = json.loads((tiny / "bundle.json").read_text("utf-8"))
    write_sealed(tiny, record | change)
    try:
        done = run_cli("report", tiny, "--out", tmp_path / "out")
    finally:
        (tiny / "report.json").unlink(missing_ok=True)
        write_sealed(tiny, record)
    assert done.code in (0, 2)
    assert "unexpected" not in done.err
    assert "Traceback" not in done.err


RUN: dict[str, Any] = {
    "schema_version": 1,
    "kind": "run",
    "name": "r",
    "model": "mobilenet_v3_small",
    "weights": "none",
    "pooled": True,
    "strategy": "head",
    "labels": ["a", "b"],
    "preprocess": {},
    "data": {},
    "metrics": {},
    "provenance": {"recipe": {}},
    "files": [],
}


@pytest.mark.parametrize(
    "change",
    [
        {"data": {"n": 5}},
        {"data": {"skipped": 5, "not_images": ["x"]}},
        {"metrics": {"confusion": 5}},
        {"metrics": {"per_class": [5]}},
        {"history": 5},
        {"history": ["x"]},
        {"head": "x"},
        {"kept": [5]},
        {"folds": 3},
        {"provenance": {"recipe": {}, "host": [1]}},
        {"strategy_reason": "\ud800"},
        *({key: value} for key in RUN for value in list[Any]((None, [], {}, "x", 5))),
    ],
    ids=ascii,
)
def test_a_run_that_no_report_can_be_made_of(
    run_cli: Callable[..., Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.json").write_text(json.dumps(RUN | change))
    done = run_cli("report", "r", "--out", "out")
    assert done.code in (0, 2), done.err
    assert "unexpected" not in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("name", ["report.html", "report.md"])
def test_a_persons_own_report_is_not_written_over(
    run_cli: Callable[..., Any], tiny: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text("# mine")
    done = run_cli("report", tiny, "--out", tmp_path / "out")
    assert done.code == 2
    assert f"{name} is there, and nothing says that edge-tl made it" in done.err
    assert [(path.name, path.read_text()) for path in (tmp_path / "out").iterdir()] == [(name, "# mine")]


def test_a_report_replaces_an_older_one_and_stays_beside_other_files(
    run_cli: Callable[..., Any], tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    for _ in range(2):
        assert run_cli("report", tiny, "--out", tmp_path / "out").code == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "notes.txt",
        "report.html",
        "report.md",
    ]


def test_a_report_out_that_is_a_file(run_cli: Callable[..., Any], tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    done = run_cli("report", tiny, "--out", tmp_path / "out")
    assert done.code == 2
    assert "a file is there. Choose a folder" in done.err
