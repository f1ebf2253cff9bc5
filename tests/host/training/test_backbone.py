"""The frozen backbone's features are PyTorch's, whichever runtime computes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edge_tl.device.errors import BundleError
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.weights import PretrainedModel, open_pretrained
from edge_tl.host.training import backbone


@pytest.fixture(scope="module")
def source() -> PretrainedModel:
    return open_pretrained("mobilenet_v3_small", "embedded", ContractChanges(image_size=64))


@pytest.fixture(scope="module")
def inputs() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((9, 3, 64, 64)).astype(np.float32)


@pytest.fixture(scope="module")
def expected(source: PretrainedModel, inputs: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        rows: np.ndarray = backbone.backbone(source)(torch.from_numpy(inputs)).numpy()
    return rows


def close(got: np.ndarray, expected: np.ndarray) -> bool:
    return float(np.abs(got - expected).max()) <= 1e-4 * float(np.abs(expected).max())


def test_streams_give_pytorchs_features_in_the_order_of_the_images(
    source: PretrainedModel, inputs: np.ndarray, expected: np.ndarray, tmp_path: Path
):
    opened = backbone.open_backbone(source, tmp_path, threads=2, on_gpu=False)
    assert opened.runtime.startswith("openvino ")
    got = opened.features(inputs)
    assert got.shape == expected.shape
    assert close(got, expected)
    # Whole batches or pieces of them: the cache of several processes is that of one, bit for bit.
    np.testing.assert_array_equal(
        np.concatenate([opened.features(inputs[:2]), opened.features(inputs[2:])]), got
    )


def test_where_openvino_cannot_load_the_model_onnx_runtime_takes_it(
    source: PretrainedModel,
    inputs: np.ndarray,
    expected: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    def refuse(*_: object, **__: object) -> None:
        raise BundleError("OpenVINO cannot load backbone.onnx: no such operator.")

    monkeypatch.setattr(backbone, "OpenVinoRuntime", refuse)
    opened = backbone.open_backbone(source, tmp_path, threads=1, on_gpu=False)
    assert opened.runtime.startswith("onnxruntime ")
    assert close(opened.features(inputs), expected)
