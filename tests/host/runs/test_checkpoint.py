"""A run on disk: whole, its own and unaltered, or refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from host.records import RECORD

from edge_tl.device.errors import BadInput
from edge_tl.device.files import sha256_file
from edge_tl.host.models import architecture
from edge_tl.host.recipe.schema import Recipe
from edge_tl.host.runs import checkpoint
from edge_tl.host.training.run_folder import RUN_FILES


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    checkpoint.claim(folder, ())
    checkpoint.save(folder, architecture.build("mobilenet_v3_small", 3, pooled=True), RECORD)
    return folder


def change(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((folder / "run.json").read_text())
    edit(record)
    (folder / "run.json").write_text(json.dumps(record))


def test_what_was_saved_is_loaded(saved: Path):
    torch.manual_seed(0)
    model = architecture.build("mobilenet_v3_small", 3, pooled=True)
    checkpoint.save(saved, model, RECORD)
    loaded, record = checkpoint.load_run(saved)
    assert not loaded.training
    assert record.labels == RECORD.labels
    state = loaded.state_dict()
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert sorted(path.name for path in saved.iterdir()) == ["model.safetensors", "run.json"]


def test_killed_at_any_step_it_is_the_old_run_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A kill leaves what lies there at that moment: the folder is copied around every step of the file system."""
    torch.manual_seed(0)
    old, new = (architecture.build("mobilenet_v3_small", 3, pooled=True) for _ in range(2))
    run = tmp_path / "run"
    moments: list[Path] = []
    checkpoint.claim(run, ())
    checkpoint.save(run, old, replace(RECORD, name="old"))

    def watched(step: Callable[..., Any]) -> Callable[..., Any]:
        def around(*arguments: Any, **options: Any) -> Any:
            for _ in range(2):
                moments.append(shutil.copytree(run, tmp_path / f"moment{len(moments)}"))
                if len(moments) % 2:
                    result = step(*arguments, **options)
            return result

        return around

    with monkeypatch.context() as patch:
        for name in ("replace", "unlink", "fsync"):
            patch.setattr(os, name, watched(getattr(os, name)))
        checkpoint.save(run, new, replace(RECORD, name="new"))
    assert len(moments) >= 10
    seen = []
    for moment in moments:
        model, record = checkpoint.load_run(moment)
        weights = {"old": old, "new": new}[record.name].state_dict()
        assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
        seen.append(record.name)
        checkpoint.finish_save(moment)  # the next writer
        assert sha256_file(moment / "model.safetensors") == checkpoint.read_run(moment).sha256
        assert sorted(path.name for path in moment.iterdir()) == ["model.safetensors", "run.json"]
    assert seen == sorted(seen, reverse=True)
    assert {"old", "new"} == set(seen)


@pytest.mark.parametrize("step", range(8))
def test_a_full_disk_at_any_step_leaves_a_whole_run_and_nothing_beside_it(
    saved: Path, step: int, monkeypatch: pytest.MonkeyPatch
):
    flush, done = os.fsync, [0]

    def full(file: int) -> None:
        done[0] += 1
        if done[0] == step + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flush(file)

    before = (saved / "run.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="space") if step < 5 else nullcontext():
            checkpoint.save(saved, architecture.build("mobilenet_v3_small", 3, pooled=True), RECORD)
    checkpoint.load_run(saved)
    assert sorted(path.name for path in saved.iterdir()) == ["model.safetensors", "run.json"]
    assert ((saved / "run.json").read_bytes() == before) == (step < 3)


def test_what_a_person_hid_in_a_run_stays(saved: Path):
    mine = [".model.safetensors.bak", ".run.json.backup-of-monday", ".notes"]
    for name in mine:
        (saved / name).touch()
    checkpoint.save(saved, architecture.build("mobilenet_v3_small", 3, pooled=True), RECORD)
    assert all((saved / name).exists() for name in mine)


def test_the_shared_run_gives_the_answers_it_reported(run: Path, finetuned: dict[str, Any]):
    model, record = checkpoint.load_run(run)
    dataset = record.dataset()
    contract, judged = record.preprocess, dataset.split("test")
    with torch.inference_mode():
        logits = model(torch.from_numpy(np.stack([contract.apply(p) for p in dataset.sources(judged)])))
    right = (logits.argmax(1).numpy() == [s.label for s in judged]).mean()
    assert right == finetuned["metrics"]["accuracy"] == record.metrics.accuracy
    assert finetuned["n"]["test"] == len(judged) == 18


def test_weights_are_plain_safetensors_that_name_their_model(run: Path):
    with safetensors.safe_open(run / "model.safetensors", "pt") as file:
        assert file.metadata() == {"model": "mobilenet_v3_small"}
        assert "classifier.0.weight" in file.keys()  # noqa: SIM118 (no mapping)


def test_a_folder_without_its_record_is_no_run(saved: Path, tmp_path: Path):
    (saved / "run.json").unlink()
    with pytest.raises(BadInput, match="not a finished run"):
        checkpoint.load_run(saved)
    with pytest.raises(BadInput, match="no such run"):
        checkpoint.load_run(tmp_path / "absent")


@pytest.mark.parametrize("at", [0, 100, -1])
def test_altered_weights_are_refused(saved: Path, at: int):
    content = bytearray((saved / "model.safetensors").read_bytes())
    content[at] ^= 1
    (saved / "model.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match=r"damaged run: .*model\.safetensors"):
        checkpoint.load_run(saved)


def test_absent_weights_are_refused(saved: Path):
    (saved / "model.safetensors").unlink()
    with pytest.raises(BadInput, match=r"damaged run: .*model\.safetensors"):
        checkpoint.load_run(saved)


@pytest.mark.parametrize("content", ["", "[]", "{", "\x00", '{"schema_version": 1}', '{"kind": "run"}'])
def test_a_record_that_is_none_is_refused(saved: Path, content: str):
    (saved / "run.json").write_text(content)
    with pytest.raises(BadInput, match=r"run\.json"):
        checkpoint.read_run(saved)


def test_a_run_of_another_version_is_refused(saved: Path):
    change(saved, lambda record: record.update(schema_version=2))
    with pytest.raises(BadInput, match="not a run of this edge-tl version"):
        checkpoint.load_run(saved)


@pytest.mark.parametrize("key", [key for key in RECORD.to_json() if key not in ("kept", "batch_norm")])
def test_a_record_with_a_lost_key_is_refused(saved: Path, key: str):
    change(saved, lambda record: record.pop(key))
    with pytest.raises(BadInput, match=r"run\.json: "):
        checkpoint.load_run(saved)


@pytest.mark.parametrize(
    "edit",
    [
        *(
            {key: value}
            for key in ("model", "strategy", "weights", "pooled")
            for value in list[Any]((None, 5, ["x"], {}))
        ),
        *(
            {key: value}
            for key in ("data", "metrics", "preprocess", "provenance")
            for value in list[Any]((None, 5, "x", []))
        ),
        *(
            {"labels": value}
            for value in list[Any]((None, 5, "abc", {}, [], [1, 2, 3], ["a", "a", "b"], ["a\x1b", "b", "c"]))
        ),
        *({"hidden": value} for value in list[Any]((None, 5, "x", {}, ["x"], [-1], [1 << 40]))),
        *({"dropout": value} for value in list[Any]((None, "x", [], 2, -1))),
        {"provenance": {"recipe": 5}},
    ],
    ids=str,
)
def test_a_record_with_a_value_of_another_type_is_refused_in_a_sentence(saved: Path, edit: dict[str, Any]):
    change(saved, lambda record: record.update(edit))
    with pytest.raises(BadInput, match=r"run\.json"):
        checkpoint.load_run(saved)


def test_a_record_with_other_labels_than_the_weights_is_refused(saved: Path):
    change(saved, lambda record: record["labels"].append("new"))
    with pytest.raises(BadInput):
        checkpoint.load_run(saved)


def test_the_record_is_written_last(tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(path: Path, record: dict[str, Any]) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checkpoint, "write_json", fail)
    fresh = tmp_path / "fresh"
    checkpoint.claim(fresh, ())
    for run in (saved, fresh):
        with pytest.raises(OSError, match="No space"):
            checkpoint.save(run, architecture.build("mobilenet_v3_small", 3, pooled=True), RECORD)
    checkpoint.load_run(saved)  # the run that was there
    assert list(fresh.iterdir()) == []
    with pytest.raises(BadInput, match="not a finished run"):
        checkpoint.read_run(fresh)


def test_weights_that_cannot_be_written_leave_what_was_there(
    tmp_path: Path, saved: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(path: Path, content: bytes) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_atomic", fail)
    (tmp_path / "fresh").mkdir()
    for run in (saved, tmp_path / "fresh"):
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(run, architecture.build("mobilenet_v3_small", 3, pooled=True), RECORD)
    checkpoint.load_run(saved)
    assert not (tmp_path / "fresh" / "run.json").exists()


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
    assert checkpoint.load_run(tmp_path / "elsewhere")[1].name == "x"


@pytest.mark.parametrize("name", ["../../../x", "/tmp/x", "..", "a\x1b]0;x\x07", "NUL", "", None, 3, ["x"]])
def test_a_run_whose_name_leads_elsewhere_is_refused(saved: Path, name: Any):
    """`export` makes exported/NAME of it."""
    change(saved, lambda record: record.update(name=name))
    with pytest.raises(BadInput, match=r"run\.json: name: ") as caught:
        checkpoint.read_run(saved)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "files", [[], None, "x", [{"path": "../model.safetensors"}], [3], [{"path": "/etc/passwd"}]]
)
def test_a_run_has_no_files_but_its_own(saved: Path, files: Any):
    """With an empty list no hash would be compared."""
    change(saved, lambda record: record.update(files=files))
    with pytest.raises(BadInput, match=r"run\.json: files"):
        checkpoint.load_run(saved)


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
