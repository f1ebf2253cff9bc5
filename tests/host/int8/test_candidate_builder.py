"""What all candidates share is computed once, whichever process makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.convert.model_file import Inputs
from edge_tl.host.int8 import candidate_builder, qdq
from edge_tl.host.int8.candidate_builder import CandidateBuilder, CandidateFiles
from edge_tl.host.int8.settings import EQUALIZED, QDQ, CandidateSettings


@pytest.fixture
def files(tmp_path: Path) -> CandidateFiles:
    images = np.random.default_rng(0).normal(size=(6, 3, 4, 4)).astype(np.float32)
    np.save(tmp_path / "calibration.npy", images[:4])
    np.save(tmp_path / "selection.npy", images[4:])
    np.save(tmp_path / "answers.npy", np.array([0, 1]))
    arrays = (tmp_path / f"{name}.npy" for name in ("calibration", "selection", "answers"))
    return CandidateFiles(
        tmp_path / "m.onnx", tmp_path / "m.xml", tmp_path, Preprocess(crop=(4, 4)), ("cat", "dog"), *arrays
    )


def test_fp32_answers_once_for_every_process(files: CandidateFiles, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def logits(path: Path, images: Inputs) -> Logits:
        asked.append(len(images))
        answers: Logits = np.asarray(images).mean((2, 3))[:, :2]
        return answers

    monkeypatch.setattr(candidate_builder, "batched_logits", logits)
    first, second = (
        CandidateBuilder(files),
        CandidateBuilder(files),
    )  # as the parent's and the child's, which share files alone
    np.testing.assert_array_equal(first.expected, np.load(files.selection).mean((2, 3))[:, :2])
    np.testing.assert_array_equal(second.expected, first.expected)
    np.testing.assert_array_equal(second._expected_of_calibration, first._expected_of_calibration)
    assert asked == [2, 4]


def test_what_a_dead_process_left_half_written_is_made_again(
    files: CandidateFiles, monkeypatch: pytest.MonkeyPatch
):
    def killed(fp32: Path, prepared: Path) -> None:
        prepared.write_bytes(b"half")
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(qdq, "prepare_graph", killed)
        with pytest.raises(MemoryError):
            _ = CandidateBuilder(files).prepared
    monkeypatch.setattr(qdq, "prepare_graph", lambda fp32, prepared: prepared.write_bytes(b"whole"))
    monkeypatch.setattr(
        candidate_builder, "equalize", lambda prepared, out: out.write_bytes(prepared.read_bytes())
    )
    settings = CandidateSettings("onnx", QDQ, "minmax", 4, qdq.UNSIGNED, False, rescaled=EQUALIZED)
    assert CandidateBuilder(files).base_graph(settings).read_bytes() == b"whole"
