"""What would end a training late is refused before an image is decoded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.host.images.dataset import Dataset, Sample
from edge_tl.host.recipe import load as recipes
from edge_tl.host.training import finetune, folds, preflight

MODEL = {"name": "mobilenet_v3_small", "weights": "embedded", "image_size": 32}


@pytest.fixture(autouse=True)
def nothing_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: Any, **__: Any) -> Any:
        raise AssertionError("weights were opened before the recipe was refused")

    monkeypatch.setattr(finetune, "open_pretrained", opened)


def pictures(root: Path, counts: dict[str, int]) -> Path:
    rng = np.random.default_rng(0)
    for label, n in counts.items():
        (root / label).mkdir(parents=True)
        for i in range(n):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(root / label / f"{i}.png")
    return root


def refused(images: Path, out: Path, **settings: Any) -> str:
    recipe = recipes.parse(
        {"model": MODEL, **settings, "data": {"path": str(images), **settings.get("data", {})}}
    )
    with pytest.raises(EdgeTLError) as caught:
        finetune.finetune(recipe, out)
    assert not out.exists()
    return str(caught.value)


def test_two_folds_of_a_class_of_two_are_refused_before_the_training(tmp_path: Path):
    """Each fold judges one of the two, so one is left, to learn from and to choose by at once."""
    data = pictures(tmp_path / "data", {"many": 12, "two": 2})
    message = refused(data, tmp_path / "run", data={"folds": 2})
    assert "class 'two': fold 1 of 2 leaves it 1 of its images" in message


def test_more_folds_than_images_are_refused_before_the_features(tmp_path: Path):
    data = pictures(tmp_path / "data", {"a": 12, "b": 4})
    assert "9 folds need 9" in refused(data, tmp_path / "run", data={"folds": 9})


def test_a_share_of_nothing_to_choose_by_is_refused_before_the_features(tmp_path: Path):
    data = pictures(tmp_path / "data", {"a": 6, "b": 6})
    for label in "ab":
        (data / "train" / label).mkdir(parents=True)
        (data / "val" / label).mkdir(parents=True)
        for i, path in enumerate(sorted((data / label).iterdir())):
            path.rename(data / ("val" if i == 0 and label == "a" else "train") / label / path.name)
        (data / label).rmdir()
    (data / "val" / "b" / "copy.png").write_bytes((data / "train" / "b" / "0.png").read_bytes())
    assert "class 'b' has no usable image in val" in refused(data, tmp_path / "run")


def test_a_training_size_that_the_model_cannot_take_is_refused_before_the_features(tmp_path: Path):
    data = pictures(tmp_path / "data", {"a": 6, "b": 6})
    model = {"name": "inception_v3", "weights": "none", "image_size": 128}
    train = {"strategy": "full", "image_sizes": [32, 128]}
    assert "32" in refused(data, tmp_path / "run", model=model, train=train)


def test_a_missing_tensorboard_is_told_before_the_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        preflight.importlib.util, "find_spec", lambda name: None if name == "tensorboard" else find(name)
    )
    data = pictures(tmp_path / "data", {"a": 6, "b": 6})
    assert "edge-tl[tensorboard]" in refused(data, tmp_path / "run", train={"tensorboard": True})


def samples(counts: list[int], groups: list[int]) -> list[Sample]:
    found = []
    for label, n in enumerate(counts):
        for i in range(n):
            group = f"g{groups[(label * 7 + i) % len(groups)]}" if groups else None
            found.append(Sample(f"{label}/{i}", label, f"{label:02d}{i:04d}", "train", group))
    return found


@settings(deadline=None, max_examples=80)
@given(
    counts=st.lists(st.integers(1, 9), min_size=2, max_size=4),
    groups=st.lists(st.integers(0, 9), max_size=8),
    k=st.integers(2, 5),
)
def test_a_plan_of_folds_is_refused_or_every_fold_can_learn_every_class(
    counts: list[int], groups: list[int], k: int
):
    dataset = Dataset(Path("x"), [f"c{i}" for i in range(len(counts))], samples(counts, groups))
    try:
        plan = folds.plan_folds(dataset, k, 0)
    except BadInput:
        return
    assert len(plan) == k
    for (seen, choosing), held_out in plan:
        assert {s.label for s in seen} == set(range(len(counts)))
        assert choosing
        assert held_out
        units = [{s.unit for s in part} for part in (seen, choosing, held_out)]
        assert len(units[0]) + len(units[1]) + len(units[2]) == len({s.unit for s in dataset.samples})
    assert sorted(s.path for fold in plan for s in fold.held_out) == sorted(s.path for s in dataset.samples)
