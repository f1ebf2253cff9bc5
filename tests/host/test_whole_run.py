"""What a whole run takes as it is and what it makes again; the chain itself is in tests/cli/test_run_verb.py."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.host import whole_run
from edge_tl.host.export.bundle_provenance import made_of
from edge_tl.host.recipe.recipe_input import from_run
from edge_tl.host.runs import checkpoint, output_folder
from edge_tl.host.runs.result import RunResult

TINY = Path(__file__).parents[1] / "records" / "bundle-of-version-2"


@pytest.fixture
def asked(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How `finetune`, which finds the shared run finished, and `export`, which makes the tiny bundle, were called."""
    calls: list[dict[str, Any]] = []

    def finetune(recipe: Any, out: Path | None, **how: Any) -> RunResult:
        calls.append({"finetune": out} | how)
        return RunResult(run, checkpoint.read_run(run))

    def export(run: Path, out: Path, recipe: Any, **how: Any) -> dict[str, str]:
        calls.append({"export": out} | how)
        shutil.rmtree(out, ignore_errors=True)
        shutil.copytree(TINY, out)
        return {"bundle": str(out)}

    monkeypatch.setattr(whole_run, "finetune", finetune)
    monkeypatch.setattr(whole_run.pipeline, "export", export)
    return calls


def test_an_export_that_was_interrupted_is_made_and_a_training_is_not_made_again(
    asked: list[dict[str, Any]], run: Path, tmp_path: Path
) -> None:
    made = whole_run.whole_run(from_run(run).recipe(), tmp_path)
    assert [next(iter(call)) for call in asked] == ["finetune", "export"]
    assert asked[0]["resumed"] is True
    assert asked[1]["overwrite"] is False
    assert (made.run, made.bundle) == (run, tmp_path / "bundle")
    assert made.report == tmp_path / "bundle" / "report.html"
    assert made.record.recommended == read_bundle(TINY).record.recommended


def test_overwrite_makes_both_anew(asked: list[dict[str, Any]], run: Path, tmp_path: Path) -> None:
    whole_run.whole_run(from_run(run).recipe(), tmp_path, overwrite=True)
    assert asked[0]["resumed"] is False
    assert [call["overwrite"] for call in asked] == [True, True]


def test_only_a_bundle_of_the_same_settings_and_weights_is_finished(
    exported: dict[str, Any], run: Path
) -> None:
    bundle, record = Path(exported["bundle"]), checkpoint.read_run(run)
    given = from_run(run).assigned({"export.int8": True})
    made = made_of(given.recipe(), record)
    assert output_folder.finished_bundle(bundle, made, numbered=False) == bundle
    other = made_of(given.assigned({"export.max_drop": 9.0}).recipe(), record)
    assert output_folder.finished_bundle(bundle, other, numbered=True) is None
    assert output_folder.finished_bundle(bundle, made | {"weights_sha256": "0" * 64}, numbered=False) is None
    assert output_folder.finished_bundle(run, made, numbered=False) is None


def test_an_image_in_another_class_makes_another_run(
    asked: list[dict[str, Any]], run: Path, images: Path, tmp_path: Path
) -> None:
    """The same bytes with another label are other data; a file that is no image, and another name, are not."""
    mine = Path(shutil.copytree(images, tmp_path / "mine"))
    recipe = from_run(run).assigned({"data.path": str(mine)}).recipe()
    image, *_ = sorted(mine.rglob("*.png"))
    image.rename(image.with_name("renamed.png"))
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    whole_run.whole_run(recipe, tmp_path / "out")
    other = next(
        folder for folder in sorted(mine.rglob("*")) if folder.is_dir() and folder not in image.parents
    )
    image.with_name("renamed.png").rename(other / "moved.png")
    with pytest.raises(BadInput, match="1 images are new or have another class and 1 are gone"):
        whole_run.whole_run(recipe, tmp_path / "out")


def test_newer_weights_and_a_page_that_is_gone(
    asked: list[dict[str, Any]], run: Path, tmp_path: Path
) -> None:
    made = whole_run.whole_run(from_run(run).recipe(), tmp_path)
    assert made.report.is_file()  # the stored bundle has none
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"new")
    with pytest.raises(BadInput, match=r"--weights .*is newer"):
        whole_run.whole_run(from_run(run).assigned({"model.weights": str(weights)}).recipe(), tmp_path)
