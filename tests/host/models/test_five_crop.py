"""Five crops inside the model, against torchvision's FiveCrop and ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import FiveCrop

from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.onnxruntime_ import OnnxRuntime
from edge_tl.host.convert.fp32 import to_onnx
from edge_tl.host.models.five_crop import FiveCropMean, with_crops


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3)
    ).eval()


@pytest.mark.parametrize(
    ("whole", "part"), [((32, 32), (24, 24)), ((31, 40), (24, 17)), ((27, 27), (24, 24))]
)
def test_the_mean_is_of_torchvisions_five_crops(
    classifier: nn.Module, whole: tuple[int, int], part: tuple[int, int]
) -> None:
    images = torch.rand(4, 3, *whole)
    with torch.inference_mode():
        got = FiveCropMean(classifier, whole, part)(images)
        for image, answer in zip(images, got, strict=True):
            crops = torch.stack(FiveCrop(part)(image))
            torch.testing.assert_close(answer, classifier(crops).mean(0))


def test_the_file_answers_as_pytorch_for_any_batch(classifier: nn.Module, tmp_path: Path) -> None:
    contract = Preprocess(resize_size=(32, 32), crop=(32, 32), five_crop=(24, 24))
    model = with_crops(classifier, contract)
    to_onnx(model, tmp_path / "five.onnx", contract, ["a", "b", "c"])
    runtime = OnnxRuntime(tmp_path / "five.onnx", threads=1)
    for n in (1, 5):
        images = torch.rand(n, 3, 32, 32)
        with torch.inference_mode():
            np.testing.assert_allclose(runtime(images.numpy()), model(images).numpy(), atol=1e-5)


def test_without_five_crops_it_is_the_model_itself(classifier: nn.Module) -> None:
    assert with_crops(classifier, Preprocess()) is classifier
