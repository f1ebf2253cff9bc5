"""The public API on the host: the examples of docs/api.md go from a folder of images to a bundle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from examples import examples

pytest.importorskip("torch")

import edge_tl
from edge_tl.host.models import factories
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint

TINY = Path(__file__).parent / "records" / "version-1" / "bundle"
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


def test_none_is_a_setting_like_any_other(folder: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Recipe] = []
    monkeypatch.setattr(
        "edge_tl.host.training.finetune.finetune", lambda recipe, *_, **__: seen.append(recipe)
    )
    before = checkpoint.read_run(run).provenance.recipe["model"]["image_size"]
    edge_tl.finetune(run, folder / "other", settings={"model.image_size": None})
    assert before is not None
    assert seen[0].model.image_size is None
    with pytest.raises(edge_tl.BadInput, match=r"model\.name"):
        edge_tl.finetune("data", settings={"model.name": None})


def test_a_factory_is_permitted_for_the_call_alone(
    monkeypatch: pytest.MonkeyPatch, folder: Path, run: Path
) -> None:
    seen: list[str | None] = []

    def look(*_: object, **__: object) -> None:
        seen.append(os.environ.get(factories.VARIABLE))
        raise edge_tl.BadInput("seen")

    monkeypatch.setattr("edge_tl.host.export.pipeline.export", look)
    monkeypatch.setattr("edge_tl.device.bench.run.bench", look)
    monkeypatch.setattr("edge_tl.api._pytorch", lambda *_: ())
    monkeypatch.delenv(factories.VARIABLE, raising=False)
    for factory in ("mine:model", None):
        with pytest.raises(edge_tl.BadInput, match="seen"):
            edge_tl.export(run, factory=factory)
        with pytest.raises(edge_tl.BadInput, match="seen"):
            edge_tl.bench(TINY, run=run, factory=factory)
    assert seen == ["factory:mine:model"] * 2 + [None] * 2
    with pytest.raises(edge_tl.BadInput, match="--factory has no effect here"):
        edge_tl.bench(TINY, edge_tl.BenchOptions(fps=30), factory="mine:model")
    assert factories.VARIABLE not in os.environ
