"""The simulated graph, against ONNX Runtime's own arithmetic of the same file."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import pretend
import pytest
import torch
from listening import Listening
from onnx import numpy_helper

from edge_tl.device import metrics
from edge_tl.device.errors import BadInput
from edge_tl.device.files import read_json
from edge_tl.device.listener import SILENT
from edge_tl.device.preprocess import Preprocess
from edge_tl.host import accelerator
from edge_tl.host.convert.fp32 import to_onnx
from edge_tl.host.images.augment import model_inputs
from edge_tl.host.images.pixel_cache import Images
from edge_tl.host.int8 import qat, qdq
from edge_tl.host.int8.fake_quant import FakeQuantModel
from edge_tl.host.int8.ranges import histograms
from edge_tl.host.int8.saturation import saturating_layers
from edge_tl.host.models import architecture
from edge_tl.host.runs import checkpoint

Pair = tuple[Path, Path]


@pytest.fixture(scope="module")
def pair(bundle: Path, calibration: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """The prepared FP32 graph and its Q/DQ graph, weights stored as asked."""
    folder = tmp_path_factory.mktemp("pair")
    qdq.prepare_graph(bundle / "model.fp32.onnx", folder / "prepared.onnx")
    seen = histograms(str(folder / "prepared.onnx"), calibration)

    def make(storage: str) -> Pair:
        path = folder / f"{storage[:5]}.onnx"
        if not path.exists():
            ranges = {name: histogram.range("99.9") for name, histogram in seen.items()}
            fused = storage == qdq.SEVEN_BITS
            qdq.quantize(
                folder / "prepared.onnx",
                path,
                ranges,
                qdq.QdqOptions(storage, matrix_only=fused, fused=fused),
            )
        return folder / "prepared.onnx", path

    return make


@pytest.mark.parametrize("storage", [qdq.SIGNED, qdq.SEVEN_BITS])
def test_it_rounds_where_the_graph_rounds(
    pair: Callable[[str], Pair], calibration: Any, storage: str, literally: Callable[..., Any]
):
    """A value half-way between two codes may fall either way, and what follows with it; without the rounding the
    difference would be all that separates the float graph from this one."""
    prepared, graph = pair(storage)
    want = literally(graph, calibration)
    with torch.no_grad():
        got = FakeQuantModel(prepared, graph)(torch.from_numpy(np.array(calibration))).numpy()
    float_ = literally(prepared, calibration)
    assert np.abs(got - want).mean() < 0.5 * np.abs(float_ - want).mean()


def test_training_keeps_what_is_proven(pair: Callable[[str], Pair], tmp_path: Path):
    """Weights that moved may be pairs that saturate: where any could, they keep to seven bits, elsewhere to eight."""
    prepared, graph = pair(qdq.PAIR_SAFE)
    assert saturating_layers(onnx.load(graph).graph) == []
    model = FakeQuantModel(prepared, graph)
    assert set(model._most.values()) == {64, 127}
    with torch.no_grad():
        for value in model.trained.values():
            value.copy_(torch.sign(value) * value.abs().max())
    model.write(tmp_path / "trained.onnx")
    assert saturating_layers(onnx.load(tmp_path / "trained.onnx").graph) == []


@pytest.mark.parametrize("storage", [qdq.SIGNED, qdq.SEVEN_BITS])
def test_untrained_it_writes_the_graph_it_read(pair: Callable[[str], Pair], tmp_path: Path, storage: str):
    prepared, graph = pair(storage)
    FakeQuantModel(prepared, graph).write(tmp_path / "same.onnx")
    old, new = (
        {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}
        for path in (graph, tmp_path / "same.onnx")
    )
    assert old.keys() == new.keys()
    for name, values in old.items():
        if values.dtype == np.int8:
            np.testing.assert_array_equal(new[name], values)
        elif values.dtype == np.int32:
            assert np.abs(new[name].astype(np.int64) - values).max() <= 1
        else:
            np.testing.assert_allclose(new[name], values, rtol=1e-6)


def without_a_pair(graph: Path, out: Path) -> Path:
    """The first layer left in float, as rung 3 leaves some."""
    model = onnx.load(graph)
    made = {node.output[0]: node for node in model.graph.node}
    constants = {i.name: i for i in model.graph.initializer}
    layer = next(node for node in model.graph.node if node.op_type == "Conv")
    for place in (1, 2):
        node = made[layer.input[place]]
        codes, scale = (numpy_helper.to_array(constants[name]) for name in node.input[:2])
        wide = scale.reshape(-1, *[1] * (codes.ndim - 1)) if scale.ndim else scale
        name = f"{layer.input[place]}.float"
        values = (codes * wide).astype(np.float32).reshape(codes.shape)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
        layer.input[place] = name
        model.graph.node.remove(node)
    onnx.save(model, out)
    return out


@pytest.mark.parametrize("storage", [qdq.SIGNED, qdq.SEVEN_BITS])
def test_on_a_gpu_nothing_is_left_behind(
    pair: Callable[[str], Pair], tmp_path: Path, storage: str, run: Path
):
    """The weights of layers left in float are constants, not parameters; the student is asked beside its teacher."""
    prepared, graph = pair(storage)
    student = FakeQuantModel(prepared, without_a_pair(graph, tmp_path / "float.onnx"))
    with torch.no_grad():
        assert torch.isfinite(student(torch.zeros(2, 3, 64, 64))).all()
    teacher, _ = checkpoint.load_run(run)
    with pretend.gpu():
        inputs = model_inputs(
            torch.zeros(2, 3, 64, 64, dtype=torch.uint8), (0.5,) * 3, (0.5,) * 3, pretend.CUDA
        )
        loss = qat.distillation_loss(pretend.moved(teacher), pretend.moved(student), inputs)
    assert (loss.device.type, loss.shape) == ("cuda", ())


def test_the_teacher_comes_back_whatever_happens(
    pair: Callable[[str], Pair], run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    teacher, record = checkpoint.load_run(run)
    where: list[torch.device] = []
    move = teacher.to

    def to(device: Any) -> Any:
        where.append(torch.device(device))
        return move("cpu")

    monkeypatch.setattr(teacher, "to", to)
    monkeypatch.setattr(accelerator, "free_cached", lambda device: None)

    def torn(teacher: Any, student: Any, inputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(qat, "distillation_loss", torn)
    images = cast(Images, [torch.zeros(3, 64, 64, dtype=torch.uint8)] * 4)
    job = qat.DistillationJob(teacher, images, record.preprocess, epochs=1, seed=0, flip=False)
    with pytest.raises(RuntimeError, match="out of memory"):
        qat.distill(job, *pair(qdq.SIGNED), tmp_path / "out.onnx", listener=SILENT)
    assert where == [accelerator.device(), torch.device("cpu")]
    assert not (tmp_path / "out.onnx").exists()


def test_every_parameter_gets_a_gradient(pair: Callable[[str], Pair], calibration: Any):
    model = FakeQuantModel(*pair(qdq.SIGNED))
    model(torch.from_numpy(np.array(calibration[:4]))).square().sum().backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def test_the_gradient_of_a_step_is_lsqs():
    """Inside the range rounded(v/s) - v/s, outside it the code at the end (Esser et al., 2020)."""
    from edge_tl.host.int8.fake_quant import _Round

    value = torch.tensor([0.26, 1.9, 300.0, -50.0], requires_grad=True)
    scale = torch.tensor(0.5, requires_grad=True)
    _Round.apply(value, scale, 10, 0, 255).sum().backward()
    assert value.grad is not None
    assert value.grad.tolist() == [1.0, 1.0, 0.0, 0.0]
    assert scale.grad is not None
    inside = (round(0.26 / 0.5) - 0.26 / 0.5) + (round(1.9 / 0.5) - 1.9 / 0.5)
    assert float(scale.grad) == pytest.approx(inside + (255 - 10) + (0 - 10), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "resnet18", "regnet_y_400mf"])
def test_it_knows_the_operators_of_other_families(name: str, tmp_path: Path, literally: Callable[..., Any]):
    torch.manual_seed(0)
    model = architecture.build(name, 3)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():  # untrained statistics would let nothing through to the logits
        model.train()(torch.randn(32, 3, 64, 64))
    to_onnx(model.eval(), tmp_path / "m.onnx", Preprocess(crop=(64, 64)), ["a", "b", "c"])
    qdq.prepare_graph(tmp_path / "m.onnx", tmp_path / "p.onnx")
    images = np.random.default_rng(0).normal(size=(4, 3, 64, 64)).astype(np.float32)
    ranges = {k: h.range("min-max") for k, h in histograms(str(tmp_path / "p.onnx"), images).items()}
    qdq.quantize(tmp_path / "p.onnx", tmp_path / "q.onnx", ranges, qdq.QdqOptions(qdq.SIGNED))
    with torch.no_grad():
        values = FakeQuantModel(tmp_path / "p.onnx", tmp_path / "q.onnx").values(torch.from_numpy(images))
    # The first layers: in an untrained network one code that falls the other way has grown large by the end.
    graph = onnx.load(tmp_path / "q.onnx")
    names = [node.output[0] for node in graph.graph.node if node.op_type == "Conv"][:8]
    graph.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    onnx.save(graph, tmp_path / "watched.onnx")
    for name, want in zip(names, literally(tmp_path / "watched.onnx", images, names), strict=True):
        assert np.abs(values[name].numpy() - want).mean() < 0.005 * np.abs(want).max(), name


def test_an_operator_that_it_does_not_know_is_named(pair: Callable[[str], Pair], tmp_path: Path):
    prepared, graph = pair(qdq.SIGNED)
    model = onnx.load(graph)
    next(node for node in model.graph.node if node.op_type == "HardSigmoid").op_type = "Elu"
    onnx.save(model, tmp_path / "elu.onnx")
    with pytest.raises(BadInput, match="no Elu"):
        FakeQuantModel(prepared, tmp_path / "elu.onnx")


@pytest.mark.slow
def test_training_brings_the_answers_nearer_to_fp32s(
    literally: Callable[..., Any],
    pair: Callable[[str], Pair],
    run: Path,
    calibration: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """Weights in four bits' worth of noise are repaired in a few steps of distillation."""
    prepared, graph = pair(qdq.SIGNED)
    model, _ = checkpoint.load_run(run)
    contract = Preprocess.from_json(read_json(run / "run.json")["preprocess"])
    rng = np.random.default_rng(0)
    floats = onnx.load(prepared)
    for tensor in floats.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.ndim == 4:
            noisy = values * (1 + 0.05 * rng.normal(size=values.shape))
            tensor.CopyFrom(numpy_helper.from_array(noisy.astype(np.float32), tensor.name))
    onnx.save(floats, tmp_path / "noisy.onnx")
    before = FakeQuantModel(tmp_path / "noisy.onnx", graph)
    before.write(tmp_path / "before.onnx")
    levels = contract.levels(np.array(calibration))
    images = cast(
        Images, [torch.from_numpy(np.rint(image).clip(0, 255).astype(np.uint8)) for image in levels]
    )
    monkeypatch.setattr(qat, "TOO_FEW_STEPS", 1)  # so much noise is less after any step
    job = qat.DistillationJob(model, images, contract, epochs=1, seed=0, flip=False)
    graphs = (tmp_path / f"{name}.onnx" for name in ("noisy", "before", "after"))
    qat.distill(job, *graphs, seconds=25, listener=SILENT)
    with torch.inference_mode():
        want = model(torch.from_numpy(np.array(calibration))).numpy()
    before_, after = (
        metrics.divergence(want, literally(tmp_path / name, calibration))
        for name in ("before.onnx", "after.onnx")
    )
    assert after < 0.7 * before_


@pytest.mark.parametrize(("seconds", "words"), [(2.0, r"2 s allow \d+ steps"), (0.0, "0 s allow 0 steps")])
def test_a_training_with_too_few_steps_is_refused_before_its_time_is_spent(
    pair: Callable[[str], Pair],
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seconds: float,
    words: str,
):
    """A dozen steps led away from FP32: the divergence rose from 0.033 to 0.169."""
    teacher, record = checkpoint.load_run(run)
    images = cast(Images, [torch.zeros(3, 64, 64, dtype=torch.uint8)] * 4)
    job = qat.DistillationJob(teacher, images, record.preprocess, epochs=1, seed=0, flip=False)
    now = itertools.count(step=0.05)  # the time of a step, whatever this machine
    monkeypatch.setattr(qat, "perf_counter", lambda: next(now))
    steps: list[int] = []
    with pytest.raises(
        qat.TooFewSteps, match=f"training in INT8: {words}, and fewer than 100 lead away from FP32"
    ):
        qat.distill(
            job,
            *pair(qdq.SIGNED),
            tmp_path / "out.onnx",
            seconds=seconds,
            listener=Listening(progress=lambda *step: steps.append(step[1])),
        )
    assert len(steps) <= 6
    assert not (tmp_path / "out.onnx").exists()
