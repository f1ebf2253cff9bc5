"""Finished work stays: another run goes beside it or is refused with both named; nothing is trained twice unasked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shortcut
from host.records import RECORD
from listening import Listening

from edge_tl.device.bench.effort import QUICK
from edge_tl.device.errors import BadInput
from edge_tl.device.listener import SILENT
from edge_tl.host.export import pipeline
from edge_tl.host.recipe import load
from edge_tl.host.runs import checkpoint, output_folder
from edge_tl.host.runs.record import WeightsFile
from edge_tl.host.training import run_folder

RunCli = Callable[..., Any]


def asked(run: Path, **train: Any) -> load.Recipe:
    """What the shared run was made with, and `train` changed."""
    settings = json.loads(json.dumps(checkpoint.read_run(run).provenance.recipe))
    settings["train"] |= train
    return load.parse(settings)


@pytest.fixture
def base(run: Path, tmp_path: Path) -> Path:
    """A default folder that holds a copy of the shared run."""
    shutil.copytree(run, tmp_path / "runs" / "digits")
    return tmp_path / "runs" / "digits"


def folder(base: Path, wanted: load.Recipe, out: Path | None = None, **how: bool) -> Path:
    return output_folder.run_folder(base, wanted, out, listener=SILENT, **how)


def test_another_run_gets_a_number_and_the_same_run_is_refused(base: Path) -> None:
    assert folder(base, asked(base, epochs=3)) == base.with_name("digits-2")
    shutil.copytree(base, base.with_name("digits-2"))
    assert folder(base, asked(base, epochs=3)) == base.with_name("digits-3")
    with pytest.raises(
        BadInput, match=r"digits holds the finished run of these very settings.*edge-tl export"
    ):
        folder(base, asked(base))
    with pytest.raises(BadInput, match="very settings"):  # how many workers made it changes nothing
        folder(base, asked(base, workers=7))
    assert folder(base, asked(base), overwrite=True) == base


def test_a_given_folder_is_refused_with_what_differs(base: Path) -> None:
    with pytest.raises(
        BadInput, match=r"another finished run.*% right.*train\.epochs 3 \(there None\).*--overwrite"
    ):
        folder(base, asked(base, epochs=3), base)
    with pytest.raises(BadInput, match=r"train\.epochs"):
        folder(base, asked(base, epochs=3), base, resumed=True)
    assert folder(base, asked(base, workers=7), base, resumed=True) == base
    assert folder(base, asked(base, epochs=3), base, overwrite=True) == base
    with pytest.raises(BadInput, match="Give one"):
        folder(base, asked(base), base, overwrite=True, resumed=True)


def test_resume_finds_the_numbered_run_of_these_settings(base: Path) -> None:
    second = base.with_name("digits-2")
    second.mkdir()
    (second / checkpoint.STATE).write_bytes(b"")
    checkpoint.write_recipe(second, asked(base, epochs=3))
    assert folder(base, asked(base, epochs=3), resumed=True) == second
    assert folder(base, asked(base, epochs=3)) == second  # where `finetune` then asks for --resume
    assert folder(base, asked(base), resumed=True) == base
    assert folder(base, asked(base, epochs=9)) == base.with_name("digits-3")


def test_a_record_that_cannot_be_read_is_not_overwritten_either(base: Path) -> None:
    (base / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(BadInput, match="cannot read"):
        folder(base, asked_of_nothing(), base)
    assert folder(base, asked_of_nothing()) == base.with_name("digits-2")


def asked_of_nothing() -> load.Recipe:
    return load.parse({"data": {"path": "photos"}})


def test_paths_that_are_the_same_folder_are_no_difference() -> None:
    there, here = {"data": {"path": "photos"}}, {"data": {"path": "./photos/"}}
    assert output_folder.differences(there, here) == []
    assert output_folder.differences(there, {"data": {"path": "others"}}) != []


def test_the_verbs_keep_a_finished_run(run_cli: RunCli, run: Path, images: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "mine")
    before = (tmp_path / "mine" / "run.json").read_bytes()
    for words in (["finetune", "mine"], ["finetune", "mine", "--seed", "3"]):
        done = run_cli(*words)
        assert (done.code, done.out) == (2, "")
        assert "--overwrite" in done.err
    weights = tmp_path / "mine" / "model.safetensors"
    done = run_cli(
        "import", weights, "--data", images, "--model", "mobilenet_v3_small", "--out", tmp_path / "mine"
    )
    assert done.code == 2
    assert "another finished run" in done.err
    assert (tmp_path / "mine" / "run.json").read_bytes() == before


def test_overwrite_starts_an_unfinished_training_anew(run: Path, tmp_path: Path) -> None:
    (tmp_path / checkpoint.STATE).write_bytes(b"half")
    with pytest.raises(BadInput, match="--overwrite"):
        run_folder._claim(tmp_path, asked(run), False, False)
    run_folder._claim(tmp_path, asked(run), False, True)
    assert not (tmp_path / checkpoint.STATE).exists()


def test_a_name_holds_the_size_where_it_is_not_the_weights_own(tmp_path: Path) -> None:
    def name(**model: Any) -> str:
        return run_folder.default_run_name(
            load.parse({"data": {"path": str(tmp_path / "photos")}, "model": model})
        )

    small = {"name": "mobilenet_v3_small", "weights": "embedded"}
    assert name(image_size=64, **small) == "photos-mobilenet_v3_small"
    assert name(image_size=96, **small) == "photos-mobilenet_v3_small-96px"
    assert name(image_size=224) == "photos-mobilenet_v2"
    assert name(image_size=160) == "photos-mobilenet_v2-160px"


def test_a_bundle_is_kept_or_numbered(
    bundle: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortcut.install(bundle, monkeypatch.setattr)
    monkeypatch.chdir(tmp_path)
    wanted = checkpoint.read_run(run).provenance.recipe
    wanted["export"] |= {"int8": True}
    notes: list[str] = []

    def export(out: Path | None = None, overwrite: bool = False, **changes: Any) -> Path:
        settings = wanted | {"export": wanted["export"] | changes}
        done = pipeline.export(
            run,
            out,
            load.parse(settings),
            effort=QUICK,
            overwrite=overwrite,
            listener=Listening(note=notes.append),
        )
        return Path(done["bundle"])

    first = export()
    assert first == Path("exported/run")
    before = (first / "bundle.json").read_bytes()
    assert export(max_drop=9) == Path("exported/run-2")
    assert any("exported/run holds another bundle" in note for note in notes)
    with pytest.raises(BadInput, match="very run"):
        export()
    with pytest.raises(
        BadInput, match=r"another bundle \(run: .*export\.max_drop 7\.0 \(there 0\.5\).*--overwrite"
    ):
        export(first, max_drop=7)
    assert (first / "bundle.json").read_bytes() == before
    assert export(first, overwrite=True, max_drop=7) == first
    assert (
        json.loads((first / "bundle.json").read_text("utf-8"))["provenance"]["recipe"]["export"]["max_drop"]
        == 7
    )


def test_a_training_that_went_on_with_a_smaller_micro_batch_is_the_same_run(tmp_path: Path) -> None:
    """After `--resume --set train.micro_batch=4` the recipe beside the state still has none, as does the next
    `finetune RUN --resume`, which said "another finished run" of the record's 4."""
    wanted = load.parse({"name": "r", "data": {"path": "photos"}})
    smaller = load.parse({"name": "r", "data": {"path": "photos"}, "train": {"micro_batch": 4}})
    run = tmp_path / "r"
    run.mkdir()
    checkpoint.write_recipe(run, wanted)
    (run / checkpoint.STATE).write_bytes(b"")
    output_folder.refuse_another(run, smaller)
    (run / checkpoint.STATE).unlink()
    provenance = replace(RECORD.provenance, recipe=smaller.model_dump(mode="json"))
    files = (WeightsFile("model.safetensors", "0" * 64),)
    made = replace(RECORD, provenance=provenance, files=files)
    (run / checkpoint.RECORD).write_text(json.dumps(made.to_json()))
    assert output_folder.is_same(run, wanted)
    with pytest.raises(BadInput, match="very settings"):
        folder(run, wanted, run)
    assert folder(run, wanted, run, resumed=True) == run
