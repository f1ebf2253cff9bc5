"""INT8's images are decoded in another process, once, into what decoding here gives."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.errors import BadInput
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.export import image_sets, inputs_ahead
from edge_tl.host.export.kept_inputs import KeptInputs
from edge_tl.host.images.dataset import build_dataset
from edge_tl.host.images.listing import list_images
from edge_tl.host.isolated import IsolatedProcess
from edge_tl.host.recipe.schema import Data

CONTRACT = Preprocess(resize="shorter", resize_size=(24, 24), crop=(24, 24))


@pytest.fixture(params=[0.0, 0.3])
def job(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """What is asked of an export's job, with a test split and without."""
    rng = np.random.default_rng(0)
    for i in range(30):
        path = tmp_path / "images" / "ab"[i % 2] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(path)
    dataset = build_dataset(list_images(tmp_path / "images"), {}, Data(val=0.3, test=request.param), seed=0)
    train = dataset.split("train")
    selection = dataset.split("val") if dataset.split("test") else train[4:]
    return SimpleNamespace(
        contract=CONTRACT,
        dataset=dataset,
        sets={"calibration": train[:4], "selection": selection},
        recipe=SimpleNamespace(seed=0, export=SimpleNamespace(int8=True)),
        scratch=tmp_path,
        isolated=IsolatedProcess(),
        inputs=KeptInputs(
            tmp_path / "kept", CONTRACT, dataset, dataset.split("test") or dataset.split("val")
        ),
    )


def test_they_are_what_decoding_here_gives(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    count = len(job.sets["selection"])
    want, labels = inputs_ahead.selection_inputs(job, count)
    plain = np.stack([CONTRACT.apply(path) for path in job.dataset.sources(job.sets["selection"])])
    assert np.array_equal(want, plain) is bool(job.dataset.split("test"))  # else they are blends
    want = np.array(want)
    (job.scratch / f"selection{count}.npy").unlink()
    with job.isolated, inputs_ahead.decoding(job):
        pass
    monkeypatch.setattr(image_sets, "inputs", None)  # nothing is decoded from here on
    monkeypatch.setattr(image_sets, "batches", None)
    found, again = inputs_ahead.selection_inputs(job, count)
    np.testing.assert_array_equal(found, want)
    assert labels.tolist() == again.tolist() == [sample.label for sample in job.sets["selection"]]
    calibrating = np.stack([CONTRACT.apply(path) for path in job.dataset.sources(job.sets["calibration"])])
    np.testing.assert_array_equal(inputs_ahead.calibration_inputs(job), calibrating)
    evaluated = image_sets.evaluation_set(job.dataset)[1]
    assert len(np.concatenate(list(job.inputs.batches(evaluated)))) == len(evaluated)


def test_an_image_that_is_gone_is_said_as_ever(job: Any) -> None:
    job.dataset.sources(job.sets["calibration"])[0].unlink()
    with job.isolated, pytest.raises(BadInput, match="is gone"), inputs_ahead.decoding(job):
        pass
    assert not (job.scratch / "calibration.npy").exists()


def test_without_int8_nothing_is_decoded(job: Any) -> None:
    job.recipe.export.int8 = False
    with inputs_ahead.decoding(job):
        pass
    assert not (job.scratch / "calibration.npy").exists()
