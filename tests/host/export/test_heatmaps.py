"""Heat maps against PyTorch: its own last feature map and head, and squares that decide the class."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime.quantization as ort_quantization
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from edge_tl.device.preprocess import Preprocess
from edge_tl.host.convert.fp32 import save_openvino, to_onnx, to_openvino
from edge_tl.host.export.heatmaps import PositionMaps, position_maps, rank_correlations
from edge_tl.host.int8.nncf_ptq import quantize_openvino
from edge_tl.host.int8.qdq import SIGNED
from edge_tl.host.models.architecture import build

LABELS = ["bright", "dark", "none"]
SIDE = 64
CONTRACT = Preprocess(resize_size=(SIDE, SIDE), crop=(SIDE, SIDE))
HEADS: dict[str, Callable[[nn.Module, torch.Tensor], torch.Tensor]] = {
    "mobilenet_v3_small": lambda model, pooled: model.get_submodule("classifier")(pooled.flatten(1)),
    "shufflenet_v2_x0_5": lambda model, pooled: model.get_submodule("fc")(pooled.flatten(1)),
}


def images(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Noise with a square of 16 pixels that is brighter or darker, or with none; the class; the square's cell of 8."""
    rng = np.random.default_rng(seed)
    found = rng.normal(0, 0.3, (count, 3, SIDE, SIDE)).astype(np.float32)
    labels, cells = rng.integers(0, 3, count), rng.integers(0, 7, (count, 2))
    for image, label, (y, x) in zip(found, labels, cells, strict=True):
        image[:, 8 * y : 8 * y + 16, 8 * x : 8 * x + 16] += (2.0, -2.0, 0.0)[label]
    return found, labels, cells


@pytest.fixture(scope="module")
def small() -> nn.Module:
    """Three convolutions, the mean, one linear layer; trained on squares."""
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(16, 16, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3)),
    )
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    inputs, labels, _ = images(256, 1)
    for step in range(120):
        part = np.s_[step % 4 * 64 : step % 4 * 64 + 64]
        loss = nn.functional.cross_entropy(
            model(torch.from_numpy(inputs[part])), torch.from_numpy(labels[part])
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def files(small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The small model for both runtimes, in FP32 and in INT8."""
    folder = tmp_path_factory.mktemp("small")
    names = ("fp32.onnx", "fp32.xml", "int8.onnx", "int8.xml")
    found = {name: folder / f"model.{name}" for name in names}
    to_onnx(small, found["fp32.onnx"], CONTRACT, LABELS)
    to_openvino(found["fp32.onnx"], found["fp32.xml"], CONTRACT, LABELS)
    calibration = images(32, 2)[0]

    class Reader(ort_quantization.CalibrationDataReader):  # type: ignore[misc]
        rest = iter(calibration)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self.rest, None)
            return None if image is None else {"images": image[None]}

    ort_quantization.quantize_static(str(found["fp32.onnx"]), str(found["int8.onnx"]), Reader())
    int8 = quantize_openvino(found["fp32.xml"], calibration, SIGNED)
    save_openvino(int8, found["int8.xml"], CONTRACT, LABELS)
    return found


def maps_of(path: Path, inputs: NDArray[np.float32]) -> PositionMaps:
    found = position_maps(path, inputs)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["fp32.onnx", "fp32.xml"])
def test_they_are_pytorchs_class_activation_maps(small: nn.Module, files: dict[str, Path], name: str) -> None:
    inputs, _, _ = images(5, 3)
    kept: list[torch.Tensor] = []
    hook = small.get_submodule("6").register_forward_pre_hook(lambda _, given: kept.append(given[0]))
    with torch.inference_mode():
        logits = small(torch.from_numpy(inputs))
    hook.remove()
    head = small.get_submodule("8")
    cam = torch.einsum("nchw,kc->nhwk", kept[0], head.get_parameter("weight")) + head.get_parameter("bias")
    found = maps_of(files[name], inputs)
    assert found.each.shape == (5, 8, 8, 3)
    wanted = cam.detach().numpy()
    assert np.abs(found.each - wanted).max() < 1e-6 * np.abs(wanted).max()  # some steps of float32
    assert np.abs(found.logits - logits.numpy()).max() < 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("name", ["fp32.onnx", "fp32.xml", "int8.onnx", "int8.xml"])
def test_the_square_that_decides_lights_up(files: dict[str, Path], name: str) -> None:
    inputs, labels, cells = images(40, 4)
    found = maps_of(files[name], inputs)
    decided = (found.logits.argmax(1) == labels) & (labels < 2)
    assert decided.sum() > 15
    hits = []
    for each, label, (y, x) in zip(found.each[decided], labels[decided], cells[decided], strict=True):
        top = np.unravel_index(each[..., label].argmax(), (8, 8))
        hits.append(y - 1 <= top[0] <= y + 2 and x - 1 <= top[1] <= x + 2)  # with the ring that it reaches
        inside = each[y : y + 2, x : x + 2, label].mean()
        assert inside > each[..., label].mean()
    assert np.mean(hits) == 1


@pytest.mark.parametrize("name", ["int8.onnx", "int8.xml"])
def test_int8_ranks_the_positions_as_fp32_does(files: dict[str, Path], name: str) -> None:
    inputs, _, _ = images(20, 5)
    found = rank_correlations(maps_of(files["fp32.onnx"], inputs), maps_of(files[name], inputs))
    assert len(found) == 20
    assert found.mean() > 0.9


def test_another_image_has_another_map(files: dict[str, Path]) -> None:
    """Else any two maps would agree, and the correlation say nothing."""
    one, other = (maps_of(files["fp32.onnx"], images(20, seed)[0]) for seed in (6, 7))
    assert rank_correlations(one, other).mean() < 0.5


@pytest.mark.parametrize("name", HEADS)
def test_any_head_is_applied_at_every_position(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = build(name, 3)
    to_onnx(model, tmp_path / "model.onnx", CONTRACT, LABELS)
    inputs = images(2, 8)[0]
    kept: list[torch.Tensor] = []
    last = {"mobilenet_v3_small": "features", "shufflenet_v2_x0_5": "conv5"}[name]
    hook = model.get_submodule(last).register_forward_hook(lambda _, __, given: kept.append(given))
    with torch.inference_mode():
        model(torch.from_numpy(inputs))
        hook.remove()
        high, wide = kept[0].shape[2:]
        rows = kept[0].permute(0, 2, 3, 1).flatten(0, 2)
        wanted = HEADS[name](model, rows[:, :, None, None]).reshape(2, high, wide, 3).numpy()
    found = maps_of(tmp_path / "model.onnx", inputs)
    assert np.abs(found.each - wanted).max() < 1e-4 * max(1.0, float(np.abs(wanted).max()))


def test_a_model_without_a_last_pooling_has_none(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)).eval()
    to_onnx(model, tmp_path / "model.onnx", CONTRACT, LABELS)
    to_openvino(tmp_path / "model.onnx", tmp_path / "model.xml", CONTRACT, LABELS)
    for name in ("model.onnx", "model.xml"):
        assert position_maps(tmp_path / name, images(1, 9)[0]) is None


class SkippingPool(nn.Module):
    """Its logits have a second way to the image, past the mean."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head = nn.Conv2d(3, 8, 8, 8), nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.first(images)
        logits: torch.Tensor = self.head(features.mean((2, 3))) + features.amax((2, 3))[:, :3]
        return logits


def test_a_mean_that_does_not_decide_alone_is_not_explained_by(tmp_path: Path) -> None:
    to_onnx(SkippingPool().eval(), tmp_path / "model.onnx", CONTRACT, LABELS)
    assert position_maps(tmp_path / "model.onnx", images(1, 9)[0]) is None


def test_nodes_without_a_name_are_repeated_too(tmp_path: Path) -> None:
    """Names are optional; two nodes of one name are an error, also where that is a prefix alone."""
    to_onnx(build("mobilenet_v3_small", 3), tmp_path / "model.onnx", CONTRACT, LABELS)
    graph = onnx.load(str(tmp_path / "model.onnx"))
    for node in graph.graph.node:
        node.name = ""
    onnx.save_model(graph, str(tmp_path / "bare.onnx"))
    # Written out, as an empty text: the library leaves empty texts away.
    content = (tmp_path / "bare.onnx").read_bytes()
    spelled = [each.SerializeToString() + b"\x1a\x00" for each in graph.graph.node]
    del graph.graph.node[:]
    rest = graph.SerializeToString()
    nodes = b"".join(b"\x0a" + _varint(len(each)) + each for each in spelled)
    (tmp_path / "empty.onnx").write_bytes(rest + b"\x3a" + _varint(len(nodes)) + nodes)
    assert onnx.load(str(tmp_path / "empty.onnx")) == onnx.load_from_string(content)
    inputs = images(2, 8)[0]
    want = maps_of(tmp_path / "model.onnx", inputs).each
    for name in ("bare.onnx", "empty.onnx"):
        np.testing.assert_array_equal(maps_of(tmp_path / name, inputs).each, want)


def _varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + _varint(rest) if rest else bytes([low])
