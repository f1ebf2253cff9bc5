"""`edge-tl gate`: exit codes, the JUnit file, and what is refused."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TINY = Path(__file__).parents[1] / "records" / "bundle-of-version-2"

RunCli = Callable[..., Any]


@pytest.fixture
def tiny() -> Path:
    return TINY


def test_a_kept_and_a_missed_budget(run_cli: RunCli, tiny: Path, tmp_path: Path) -> None:
    file, found = tmp_path / "gate.xml", tmp_path / "gate.json"
    kept = run_cli("gate", tiny, "--max-size-mb", 1000, "--junit", file, "--out", found, "--json")
    assert kept.code == 0, kept.err
    result = kept.json
    assert result["passed"] is True
    assert {"artifact", "device", "gates", "machine", "warnings"} <= result.keys()
    assert ET.parse(file).getroot().find("testsuite").get("failures") == "0"  # type: ignore[union-attr]
    missed = run_cli("gate", tiny, "--max-size-mb", 1e-6, "--junit", file, "--out", found)
    assert missed.code == 1
    assert "FAILED" in missed.out
    assert "failed-gate.md" in missed.err
    assert ET.parse(file).getroot().find("testsuite").get("failures") == "1"  # type: ignore[union-attr]


def test_what_is_refused(run_cli: RunCli, tiny: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "build.xml"
    foreign.write_text("<project/>")
    for words, said in (
        (("--junit", foreign), "that edge-tl did not write"),
        (("--max-p95-ms", "0"), "--max-p95-ms 0"),
        (("--max-p95-ms", "fast"), "no number"),
        (("--artifact", "onnx-int4"), "onnx-int4"),
        (("--junit", tiny / "gate.xml"), "inside"),
        (("--data", tmp_path / "none"), "none"),
    ):
        failed = run_cli("gate", tiny, *words)
        assert failed.code == 2, (words, failed.err)
        assert said in failed.err
    assert foreign.read_text() == "<project/>"


@pytest.mark.parametrize(("given", "told"), [("0.005", True), ("0.5", False), ("0", False)])
def test_a_drop_that_looks_like_a_fraction_is_told(
    run_cli: RunCli, tiny: Path, given: str, told: bool
) -> None:
    said = run_cli("gate", tiny, "--max-drop", given).err
    assert ("is not a fraction: for 0.5 percentage points give 0.5" in said) == told
