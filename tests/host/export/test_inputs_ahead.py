"""INT8's images are decoded in another process, once, into what decoding here gives."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import Silent
from edge_tl.device.preprocess import Preprocess
from edge_tl.host.export import image_sets, inputs_ahead, kept_inputs
from edge_tl.host.export.kept_inputs import KeptInputs
from edge_tl.host.images.dataset import build_dataset
from edge_tl.host.images.listing import list_images
from edge_tl.host.isolated import IsolatedProcess
from edge_tl.host.recipe.schema import Data

CONTRACT = Preprocess(resize="shorter", resize_size=(24, 24), crop=(24, 24))


class Notes(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


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
        listener=Notes(),
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


def test_a_process_that_is_killed_costs_only_its_head_start(
    job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended the export: "it ended its process (killed, signal 9: out of memory?)"."""
    write = kept_inputs._write

    def half(path: Path, *rest: Any) -> None:
        write(path, *rest)
        os.truncate(path, 1000)
        os.kill(job.isolated.call(os.getpid), signal.SIGKILL)
        job.isolated.call(os.getpid)

    def killed(process: IsolatedProcess, function: Any, *arguments: Any) -> Any:
        return half(*arguments) if function is write else call(process, function, *arguments)

    call = IsolatedProcess.call
    evaluated = image_sets.evaluation_set(job.dataset)[1]
    want = np.stack([CONTRACT.apply(path) for path in job.dataset.sources(evaluated)])
    with job.isolated:
        with monkeypatch.context() as patch:
            patch.setattr(IsolatedProcess, "call", killed)
            with inputs_ahead.decoding(job):
                pass
        assert [note.partition(" (")[0] for note in job.listener.said] == [
            "decoding images ahead: it ended its process"
        ]
    for _ in range(2):  # decoded, then read
        np.testing.assert_array_equal(np.concatenate(list(job.inputs.batches(evaluated))), want)
    assert len(inputs_ahead.calibration_inputs(job)) == len(job.sets["calibration"])


def test_what_fails_meanwhile_is_raised_without_waiting(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inputs_ahead, "_decode", lambda job, given_up: job.isolated.call(time.sleep, 3600))
    with job.isolated, pytest.raises(ZeroDivisionError), inputs_ahead.decoding(job):
        raise ZeroDivisionError
    assert not job.listener.said


def test_without_int8_nothing_is_decoded(job: Any) -> None:
    job.recipe.export.int8 = False
    with inputs_ahead.decoding(job):
        pass
    assert not (job.scratch / "calibration.npy").exists()
