"""The public API on the host: the examples of docs/api.md go from a folder of images to a bundle."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples import examples

pytest.importorskip("torch")

import edge_tl

HOST = examples("api.md")["On the host"]


@pytest.fixture
def folder(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").symlink_to(images)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_examples_go_from_images_to_a_bundle(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"edge_tl": edge_tl}
    exec(compile(HOST, "docs/api.md, On the host", "exec"), names)
    assert isinstance(names["run"], edge_tl.RunResult)
    assert (folder / "runs" / "photos" / "run.json").is_file()
    bundle = edge_tl.load_bundle("exported/photos")
    assert {artifact.precision for artifact in bundle.artifacts} == {"fp32"}
    answer = bundle.open().predict(next((folder / "data").rglob("*.png")))
    assert answer.label in names["run"].record.labels
    assert str(names["run"].record.metrics.accuracy) in capsys.readouterr().out


def test_what_cannot_be_trained_is_named_by_its_field(folder: Path) -> None:
    with pytest.raises(edge_tl.BadInput, match=r"train\.epochs"):
        edge_tl.finetune("data", settings={"train.epochs": -1})
    with pytest.raises(edge_tl.BadInput, match="absent"):
        edge_tl.finetune("absent", settings={"model.weights": "none"})
