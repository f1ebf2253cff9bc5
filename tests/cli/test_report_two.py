"""`report A B`: one page of both, what is refused in a sentence, and what is never written over."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")

Run = Callable[..., Any]
STORED = Path(__file__).parents[1] / "records"


@pytest.fixture
def two(run_cli: Run) -> tuple[Path, Path]:
    for name in ("one", "two"):
        shutil.copytree(STORED / "bundle-of-version-2", name)
    return Path("one"), Path("two")


def test_one_page_has_both(two: tuple[Path, Path], run_cli: Run) -> None:
    done = run_cli("report", *two, "--json")
    assert done.code == 0
    found = done.json
    assert found["kind"] == "bundles"
    page = Path(found["report"])
    assert page == Path("reports/one-and-two/report.html")
    assert "Two bundles side by side" in page.read_text("utf-8")
    assert Path(found["markdown"]).read_text("utf-8").startswith("# ")
    accuracy = found["differences"][0]
    n = json.loads((two[0] / "report.json").read_text("utf-8"))["reference"]["n"]
    assert (accuracy["figure"], accuracy["difference"], accuracy["n"]) == ("accuracy", 0, n)
    before = {path: path.read_bytes() for path in two[0].rglob("*") if path.is_file()}
    assert run_cli("report", *two).code == 0  # its own page is replaced
    assert before == {path: path.read_bytes() for path in two[0].rglob("*") if path.is_file()}


def test_what_cannot_be_compared_is_refused(two: tuple[Path, Path], run_cli: Run) -> None:
    one, other = two
    run = STORED / "version-1" / "run"
    Path("mine").mkdir()
    Path("mine/report.html").write_text("my own")
    for words, said in (
        ((one, one), "are the same folder"),
        ((one, run), "is a bundle and"),
        ((one, "nowhere"), "no such run or bundle: nowhere"),
        ((one, other, "--out", one), "its own report is there"),
        ((one, other, "--out", "mine"), "nothing says that edge-tl made it"),
    ):
        done = run_cli("report", *words)
        assert done.code == 2, words
        assert said in done.err
    assert Path("mine/report.html").read_text() == "my own"
    assert not Path("reports").exists()
