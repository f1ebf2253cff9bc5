"""docs/for-scripts.md names only keys that the verbs print, and every verb that prints any."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tl.cli._verbs import VERBS

RunCli = Callable[..., Any]
TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs" / "for-scripts.md").read_text("utf-8")
TINY = TESTS / "records" / "bundle-of-version-2"
# Verbs that answer on the tiny bundle in a moment.
QUICK = {
    "verify": "verify tiny",
    "gate": "gate tiny",
    "bench": "bench tiny --quick --rounds 1 --artifact onnx-fp32",
    "tune": "tune tiny --budget 0.05 --artifact onnx-fp32",
    "predict": "predict tiny tiny/golden/images",
    "slim": "slim tiny --keep onnx-fp32 --out small",
    "snippet": "snippet tiny --lang python",
    "report": "report tiny --out page",
    "devices": "devices",
    "models": "models",
}


def documented() -> dict[str, list[str]]:
    """Keys by verb, of verbs that share a row too."""
    found: dict[str, list[str]] = {}
    for verbs, keys in re.findall(r"^\| ((?:`[a-z ]+`,? ?)+)\| (.*?) \|", TEXT, re.MULTILINE):
        for verb in re.findall(r"`([a-z ]+)`", verbs):
            found[verb] = re.findall(r"`([a-z_]+)`", keys)
    return found


def test_every_verb_is_there() -> None:
    assert {name.partition(" ")[0] for name in documented()} == VERBS.keys() - {
        "serve"
    }  # which answers over HTTP


@pytest.mark.parametrize("verb", QUICK)
def test_what_is_documented_is_printed(run_cli: RunCli, verb: str, tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "tiny")
    done = run_cli(*QUICK[verb].split(), "--json")
    assert done.code == 0, done.err
    wanted = set(documented()[verb]) - ({"out", "n"} if verb == "predict" else set())
    assert wanted <= done.json.keys()


def test_what_finetune_and_export_print(finetuned: dict[str, Any], exported: dict[str, Any]) -> None:
    assert set(documented()["finetune"]) <= finetuned.keys()
    assert set(documented()["export"]) <= exported.keys()
