"""The README is one screen or two, names only verbs that exist, and leads only to files that exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edge_tl import __version__

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_its_picture_is_small() -> None:
    [picture] = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert 10_000 < (ROOT / picture).stat().st_size < 200_000


def test_every_verb_of_the_readme_exists() -> None:
    verbs = set(re.findall(r"^    edge-tl (\w+)", README, re.MULTILINE))
    assert len(verbs) >= 6
    for verb in verbs:
        done = subprocess.run(
            [sys.executable, "-m", "edge_tl", verb, "--help"], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_every_link_leads_to_a_file(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_metadata_says_who_and_what_and_readme_names_the_wheel_and_every_extra() -> None:
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["authors"]
    assert project["keywords"]
    assert any(line.startswith("Programming Language :: Python :: 3.1") for line in project["classifiers"])
    assert f"edge_tl-{__version__}-py3-none-any.whl[ort]" in README
    for extra in set(project["optional-dependencies"]) - {"dev"}:
        assert f"[{extra}]" in README, extra
