"""The demo's data is scikit-learn's, its chain the one a person would type, and the whole runs offline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.host import demo
from edge_tl.host.recipe.load import Recipe


def test_every_digit_is_a_file_of_its_class_and_loses_nothing(digits: Path):
    data = load_digits()
    paths = sorted(digits.rglob("*.png"), key=lambda path: path.name)
    assert len(paths) == len(data.images) == 1797
    assert [int(path.parent.name) for path in paths] == data.target.tolist()
    for path, want in zip(paths[::50], data.images[::50], strict=True):
        with Image.open(path) as image:
            got = np.asarray(image)
        np.testing.assert_array_equal((got / (255 / 16)).round(), want)


def test_writing_again_changes_nothing(digits: Path):
    before = {path: path.stat().st_mtime_ns for path in digits.rglob("*.png")}
    assert demo.write_digits(digits) == digits
    assert {path: path.stat().st_mtime_ns for path in digits.rglob("*.png")} == before


def test_the_chain_is_finetune_then_export_of_the_shipped_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[tuple[Recipe, Path]] = []
    monkeypatch.setattr(demo, "finetune", lambda recipe, out, **rest: calls.append((recipe, out)))

    def export(run: Path, out: Path, recipe: Recipe, **rest: Any) -> dict[str, bool]:
        calls.append((recipe, out))
        return {"passed": True}

    monkeypatch.setattr(demo, "export", export)
    out = tmp_path / "demo"
    result = demo.run_demo(out)
    assert result == {"passed": True, "report": str(out / "bundle" / "report.html")}
    assert [folder for _, folder in calls] == [out / "run", out / "bundle"]
    recipe = calls[0][0]
    assert recipe == calls[1][0]
    assert (recipe.model.weights, recipe.export.int8) == ("embedded", True)
    assert recipe.data.path == str(out / "digits")


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(BadInput, match=r"thesis\.tex"):
        demo.run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_the_demo_runs_offline_and_keeps_its_budget(shell: Callable[..., Any], tmp_path: Path):
    """A proxy that refuses every connection is a machine without a network."""
    closed = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = shell("demo", "--out", tmp_path / "demo", "--json", env=closed | {"TORCH_HOME": str(tmp_path)})
    assert done.code in (0, 1), done.err
    record = done.json
    assert done.code == (0 if record["passed"] else 1)
    assert Path(record["report"]).is_file()
    assert read_bundle(tmp_path / "demo" / "bundle").record.recommended == record["recommended"]
    believed = record["reference"]["confidence"]  # the frozen backbone's head is not certain enough of digits
    assert believed["temperature"] == pytest.approx(0.613, abs=0.05)
    assert believed["ece"] < 0.02 < 0.04 < believed["ece_before"]
    assert record["reference"]["accuracy"] > 0.96  # the recipe promises 0.978 in cross validation
    assert {a["id"] for a in record["artifacts"] if a["precision"] == "fp32" and a["drop_pp"] == 0} == {
        "onnx-fp32", "openvino-fp32",
    }  # fmt: skip


def test_the_demo_writes_over_its_own_folder_and_over_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[bool] = []
    monkeypatch.setattr(demo, "finetune", lambda recipe, out, **how: out.mkdir(exist_ok=True))

    def export(run: Path, out: Path, recipe: Recipe, *, overwrite: bool, **rest: Any) -> dict[str, bool]:
        asked.append(overwrite)
        return {}

    monkeypatch.setattr(demo, "export", export)
    demo.run_demo(tmp_path / "demo")
    demo.run_demo(tmp_path / "demo")
    assert asked == [False, True]
    (tmp_path / "mine" / "run").mkdir(parents=True)
    with pytest.raises(BadInput, match="not the demo's"):
        demo.run_demo(tmp_path / "mine")
