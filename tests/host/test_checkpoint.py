"""A run on disk: whole, its own and unaltered, or refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from edge_tl.host import checkpoint, zoo
from edge_tl.host.settings import Recipe
from edge_tl.host.training.finetune import RUN_FILES
from edge_tl.target.errors import BadInput

RECORD: dict[str, Any] = {
    "name": "x",
    "model": "mobilenet_v3_small",
    "pooled": True,
    "labels": ["a", "b", "é"],
    "weights": "none",
    "strategy": "head",
    "preprocess": {},
    "data": {},
    "metrics": {},
    "provenance": {"recipe": {}},
}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    checkpoint.claim(folder, ())
    checkpoint.save(folder, zoo.build("mobilenet_v3_small", 3, pooled=True), RECORD)
    return folder


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((folder / "run.json").read_text())
    edit(record)
    (folder / "run.json").write_text(json.dumps(record))


def test_what_was_saved_is_loaded(saved: Path):
    torch.manual_seed(0)
    model = zoo.build("mobilenet_v3_small", 3, pooled=True)
    checkpoint.save(saved, model, RECORD)
    loaded, record = checkpoint.load(saved)
    assert not loaded.training
    assert record["labels"] == RECORD["labels"]
    state = loaded.state_dict()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert sorted(path.name for path in saved.iterdir()) == ["model.safetensors", "run.json"]


def test_the_shared_run_gives_the_answers_it_reported(run: Path, finetuned: dict[str, Any]):
    model, record = checkpoint.load(run)
    from edge_tl.host.images.data import Dataset
    from edge_tl.target.contract import Preprocess

    dataset = Dataset.from_json(record["data"], record["labels"])
    contract, judged = Preprocess.from_json(record["preprocess"]), dataset.split("test")
    with torch.inference_mode():
        logits = model(torch.from_numpy(np.stack([contract.apply(p) for p in dataset.sources(judged)])))
    right = (logits.argmax(1).numpy() == [s.label for s in judged]).mean()
    assert right == finetuned["metrics"]["accuracy"] == record["metrics"]["accuracy"]
    assert finetuned["n"]["test"] == len(judged) == 18


def test_weights_are_plain_safetensors_that_name_their_model(run: Path):
    with safetensors.safe_open(run / "model.safetensors", "pt") as file:
        assert file.metadata() == {"model": "mobilenet_v3_small"}
        assert "classifier.0.weight" in file.keys()  # noqa: SIM118 (no mapping)


def test_a_folder_without_its_record_is_no_run(saved: Path, tmp_path: Path):
    (saved / "run.json").unlink()
    with pytest.raises(BadInput, match="not a finished run"):
        checkpoint.load(saved)
    with pytest.raises(BadInput, match="no such run"):
        checkpoint.load(tmp_path / "absent")


@pytest.mark.parametrize("at", [0, 100, -1])
def test_altered_weights_are_refused(saved: Path, at: int):
    content = bytearray((saved / "model.safetensors").read_bytes())
    content[at] ^= 1
    (saved / "model.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match=r"damaged run: .*model\.safetensors"):
        checkpoint.load(saved)


def test_absent_weights_are_refused(saved: Path):
    (saved / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"damaged run: .*model\.safetensors"):
        checkpoint.load(saved)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00", '{"schema_version": 1}', '{"kind": "run"}'])
def test_a_record_that_is_none_is_refused(saved: Path, content: str):
    (saved / "run.json").write_text(content)
    with pytest.raises(BadInput, match=r"run\.json"):
        checkpoint.read(saved)


def test_a_run_of_another_version_is_refused(saved: Path):
    change(saved, lambda record: record.update(schema_version=2))
    with pytest.raises(BadInput, match="not a run of this edge-tl version"):
        checkpoint.load(saved)


@pytest.mark.parametrize("key", ["files", "labels", "model", "pooled", "data", "provenance"])
def test_a_record_with_a_lost_key_is_refused(saved: Path, key: str):
    change(saved, lambda record: record.pop(key))
    with pytest.raises(BadInput):
        checkpoint.load(saved)


def test_a_record_with_other_labels_than_the_weights_is_refused(saved: Path):
    change(saved, lambda record: record["labels"].append("new"))
    with pytest.raises(BadInput):
        checkpoint.load(saved)


def test_the_record_is_written_last(saved: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(path: Path, record: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_json", fail)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(saved, zoo.build("mobilenet_v3_small", 3, pooled=True), RECORD)
    assert [path.name for path in saved.iterdir()] == ["model.safetensors"]
    with pytest.raises(BadInput, match="not a finished run"):
        checkpoint.read(saved)


def test_weights_that_cannot_be_written_leave_no_run(saved: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(path: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_atomic", fail)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save(saved, zoo.build("mobilenet_v3_small", 3, pooled=True), RECORD)
    assert not (saved / "run.json").exists()


def test_a_folder_that_holds_something_else_is_refused_and_untouched(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years")
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / ".hidden").write_text("")
    with pytest.raises(BadInput, match=r"holds 'thesis\.tex'"):
        checkpoint.claim(tmp_path, ("run.json",))
    assert sorted(p.name for p in tmp_path.iterdir()) == [".hidden", "run.json", "thesis.tex"]
    checkpoint.claim(tmp_path, ("run.json", "thesis.tex"))


def test_a_file_in_the_way_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(BadInput, match="--out"):
            checkpoint.claim(out, ())


def test_a_run_can_be_moved(saved: Path, tmp_path: Path):
    shutil.move(saved, tmp_path / "elsewhere")
    assert checkpoint.load(tmp_path / "elsewhere")[1]["name"] == "x"


@pytest.mark.parametrize("name", ["../../../x", "/tmp/x", "..", "a\x1b]0;x\x07", "NUL", "", None, 3, ["x"]])
def test_a_run_whose_name_leads_elsewhere_is_refused(saved: Path, name: Any):
    """`export` makes exported/NAME of it."""
    change(saved, lambda record: record.update(name=name))
    with pytest.raises(BadInput, match=r"run\.json: name =") as caught:
        checkpoint.read(saved)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "files", [[], None, "x", [{"path": "../model.safetensors"}], [3], [{"path": "/etc/passwd"}]]
)
def test_a_run_has_no_files_but_its_own(saved: Path, files: Any):
    """With an empty list no hash would be compared."""
    change(saved, lambda record: record.update(files=files))
    with pytest.raises(BadInput, match="its files are not"):
        checkpoint.load(saved)


@pytest.mark.parametrize("name", ["recipe.yaml", "features", "folds", "decoded", "model.safetensors"])
def test_a_persons_own_files_under_our_names_are_not_taken_for_a_run(tmp_path: Path, name: str):
    """`edge-tl finetune exp/recipe.yaml --out exp` once wrote over the recipe; `folds/` was removed in the end."""
    own = tmp_path / name if "." in name else tmp_path / name / "mine.txt"
    own.parent.mkdir(exist_ok=True)
    own.write_text("data: {path: photos}\n")
    with pytest.raises(BadInput, match=f"holds '{name}', and nothing there says that edge-tl made it"):
        checkpoint.claim(tmp_path, RUN_FILES, checkpoint.is_ours)
    assert own.read_text() == "data: {path: photos}\n"


@pytest.mark.parametrize("name", ["run.json", "recipe.yaml", ".hidden", None])
def test_what_a_run_left_and_an_empty_folder_are_taken(tmp_path: Path, name: str | None):
    (tmp_path / "r").mkdir()
    if name == "recipe.yaml":
        checkpoint.write_recipe(tmp_path / "r", Recipe.model_validate({"name": "r", "data": {"path": "d"}}))
    elif name:
        (tmp_path / "r" / name).write_text("{}")
    checkpoint.claim(tmp_path / "r", RUN_FILES, checkpoint.is_ours)
    checkpoint.claim(tmp_path / "new", RUN_FILES, checkpoint.is_ours)
    assert (tmp_path / "new").is_dir()
