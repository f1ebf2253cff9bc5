"""What all candidates share is computed once, whichever process makes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import Logits
from edge_tl.host.int8 import qdq
from edge_tl.host.int8.candidates import EQUALIZED, QDQ, CandidateBuilder, CandidateFiles, CandidateSettings
from edge_tl.host.int8.qdq import Inputs


@pytest.fixture
def spec(tmp_path: Path) -> CandidateFiles:
    images = np.random.default_rng(0).normal(size=(6, 3, 4, 4)).astype(np.float32)
    np.save(tmp_path / "calibration.npy", images[:4])
    np.save(tmp_path / "selection.npy", images[4:])
    np.save(tmp_path / "answers.npy", np.array([0, 1]))
    files = (tmp_path / f"{name}.npy" for name in ("calibration", "selection", "answers"))
    return CandidateFiles(
        tmp_path / "m.onnx", tmp_path / "m.xml", tmp_path, Preprocess(crop=(4, 4)), ("cat", "dog"), *files
    )


def test_fp32_answers_once_for_every_process(spec: CandidateFiles, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def logits(path: Path, images: Inputs) -> Logits:
        asked.append(len(images))
        return np.asarray(images).mean((2, 3))[:, :2]

    monkeypatch.setattr(qdq, "logits", logits)
    first, second = (
        CandidateBuilder(spec),
        CandidateBuilder(spec),
    )  # as the parent's and the child's, which share files alone
    np.testing.assert_array_equal(first.expected, np.load(spec.selection).mean((2, 3))[:, :2])
    np.testing.assert_array_equal(second.expected, first.expected)
    np.testing.assert_array_equal(second._expected_of_calibration, first._expected_of_calibration)
    assert asked == [2, 4]


def test_what_a_dead_process_left_half_written_is_made_again(
    spec: CandidateFiles, monkeypatch: pytest.MonkeyPatch
):
    def killed(fp32: Path, prepared: Path) -> None:
        prepared.write_bytes(b"half")
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(qdq, "prepare_graph", killed)
        with pytest.raises(MemoryError):
            _ = CandidateBuilder(spec).prepared
    monkeypatch.setattr(qdq, "prepare_graph", lambda fp32, prepared: prepared.write_bytes(b"whole"))
    monkeypatch.setattr(
        "edge_tl.host.int8.candidates.equalize", lambda prepared, out: out.write_bytes(prepared.read_bytes())
    )
    settings = CandidateSettings("onnx", QDQ, "minmax", 4, qdq.UNSIGNED, False, rescaled=EQUALIZED)
    assert CandidateBuilder(spec).base(settings).read_bytes() == b"whole"
