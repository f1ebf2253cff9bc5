"""The verb diagnose, as a person and a program meet it."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import Done
from device.conftest import LABELS, build

from edge_tl.device.bundle import read_bundle


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("diagnose") / "tiny"
    build(root)
    return root


def write(path: Path, bundle: Path, logits: np.ndarray) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", *LABELS])
        for image, row in zip(read_bundle(bundle).golden_images(), logits, strict=True):
            table.writerow([image.name, *(f"{value:.5f}" for value in row)])
    return path


def test_the_bundles_own_answers_match(run_cli: Callable[..., Done], tiny: Path, tmp_path: Path) -> None:
    own = write(tmp_path / "own.csv", tiny, read_bundle(tiny).golden_logits()["onnx-int8"])
    done = run_cli("diagnose", tiny, own)
    assert done.code == 0, done
    assert "match the reference" in done.out
    found = run_cli("diagnose", tiny, own, "--json").json
    assert (found["verdict"], found["matches"], found["artifact"]) == ("reference", [], "onnx-int8")


def test_labels_in_another_order_are_named(run_cli: Callable[..., Done], tiny: Path, tmp_path: Path) -> None:
    logits = read_bundle(tiny).golden_logits()["onnx-fp32"]
    wrong = write(tmp_path / "wrong.csv", tiny, logits[:, [1, 2, 0]])
    done = run_cli("diagnose", tiny, wrong)
    assert done.code == 1
    assert "label_order" in done.out
    assert "bundle.json" in done.out
    (match,) = run_cli("diagnose", tiny, wrong, "--json").json["matches"]
    assert match.keys() >= {"mistake", "correlation", "expected_accuracy", "advice"}
    assert match["mistake"] == "label_order"
    assert match["expected_accuracy"] is None


def test_bad_input_is_one_line(run_cli: Callable[..., Done], tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("file,dog\n00.jpg,1\n")
    for words in ([tmp_path / "none.csv"], [tmp_path / "bad.csv"], [tmp_path / "bad.csv", "--artifact", "x"]):
        done = run_cli("diagnose", tiny, *words)
        assert done.code == 2
        assert done.err.count("\n") == 1
        assert not done.out
