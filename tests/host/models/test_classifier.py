"""Networks that no file can stand for are refused in one sentence, which names the line that does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from edge_tl.device.errors import BadInput
from edge_tl.device.preprocess import Preprocess
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.host.convert import fp32
from edge_tl.host.models import classifier

SIZE = (32, 32)


class Base(nn.Module):
    scale: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 8, 3, 2, 1), nn.Linear(8, 3)
        self.norm = nn.BatchNorm2d(8, track_running_stats=False)
        self.register_buffer("scale", torch.tensor(2.0))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.conv(x)).mean((2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.features(x))
        return logits


class Squeezed(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(self.conv(x), 1)
        x = x.squeeze()  # here
        logits: torch.Tensor = self.fc(x)
        return logits


class SqueezedThenFails(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.adaptive_avg_pool2d(self.conv(x), 1)
        x = torch.squeeze(x)  # here
        logits: torch.Tensor = self.fc(F.batch_norm(x, torch.zeros(8), torch.ones(8)).flatten(1))
        return logits


class Flat(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.features(x).view(-1))  # here
        return logits


class Dropped(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.dropout(self.features(x), 0.5)  # here
        logits: torch.Tensor = self.fc(x)
        return logits


class Noisy(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.randn(3)  # here


class Branching(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.mean() > 0:  # here
            x = x * 2
        return super().forward(x)


class ReadsAConstant(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * self.scale.item()


class Unnormalized(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.fc(self.norm(self.conv(x)).amax((2, 3)))
        return logits


class OfTheBatch(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)
        x = x - x.mean(0, keepdim=True)  # here
        logits: torch.Tensor = self.fc(x)
        return logits


class Double(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).double()


class Probable(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).softmax(1)


class Single(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, :1]


class Answers(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).argsort(1)


class Huge(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 1e38 * 1e38


class Maps(Base):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps: torch.Tensor = self.conv(x)
        return maps


class Amplifying(Base):
    """Alone and in a batch apart by a rounding, which it makes a thousand times larger; as an EfficientNet that was
    trained from random weights does with noise."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        odd = 2 * len(x) + 1
        return torch.sin(1e6 * (super().forward(x) * odd / odd))


def test_what_float32_rounds_apart_is_no_dependence_on_the_batch():
    torch.manual_seed(0)
    assert classifier.check_classifier(Amplifying(), SIZE, "mine").outputs == 3


def here(model: type[Base]) -> str:
    """The line of this file that is marked in the model's code."""
    lines = Path(__file__).read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"class {model.__name__}("))
    number = next(i for i in range(start, len(lines)) if lines[i].endswith("# here"))
    return f"{Path(__file__).name}:{number + 1} `{lines[number].strip()}`"


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Squeezed, "gives (3,) for one image, where (1, 3) is due: squeeze at {here} loses the batch axis"),
        (SqueezedThenFails, "squeeze at {here} loses the batch axis"),
        (Flat, "fails on RGB images of 32 pixels"),
        (Flat, "at {here}"),
        (Dropped, "differ from call to call with the same image: dropout at {here} is random"),
        (Noisy, "differ from call to call with the same image: randn at {here} is random"),
        (Branching, "{here} decides by the values of the image"),
        (Unnormalized, "depends on the other images of its batch: layer norm (BatchNorm2d) keeps no running"),
        (OfTheBatch, "depends on the other images of its batch, from sub at {here} on"),
        (Single, "gives one number an image"),
        (Answers, "gives int64, which are no logits"),
        (Huge, "its answers are not numbers (NaN or infinity)"),
        (Maps, "gives (2, 8, 16, 16) for two images"),
    ],
)
def test_what_cannot_be_exported_is_said_with_its_line(
    model: type[Base], words: str, capfd: pytest.CaptureFixture[str]
):
    with pytest.raises(BadInput) as caught:
        classifier.check_classifier(model(), SIZE, "mine")
    said = str(caught.value)
    assert said.startswith("mine: ")
    assert (words.replace("{here}", here(model)) if "{here}" in words else words) in said
    assert "\n" not in said
    assert "unexpected" not in said
    assert capfd.readouterr() == ("", "")


def test_what_works_passes_and_another_number_of_labels_is_refused():
    assert classifier.check_classifier(Base(), SIZE, "mine", classes=3) == classifier.CheckedClassifier(3, ())
    assert classifier.check_classifier(ReadsAConstant(), SIZE, "mine").outputs == 3
    with pytest.raises(BadInput, match="gives 3 logits an image, and there are 4 labels"):
        classifier.check_classifier(Base(), SIZE, "mine", classes=4)


def test_a_model_in_training_mode_is_checked_as_it_will_run():
    model = nn.Sequential(Base(), nn.Dropout(0.5)).train()
    assert classifier.check_classifier(model, SIZE, "mine").outputs == 3
    assert not model.training


def test_probabilities_and_other_precisions_are_said():
    (said,) = classifier.check_classifier(Probable(), SIZE, "mine").notes
    assert "seems to end in a softmax" in said
    (said,) = classifier.check_classifier(Double(), SIZE, "mine").notes
    assert said == "mine: gives float64 logits; they are taken, and exported, as float32"


def test_float64_logits_are_exported_as_float32(tmp_path: Path):
    contract = Preprocess(resize_size=SIZE, crop=SIZE)
    model = Double().eval()
    fp32.to_onnx(model, tmp_path / "m.onnx", contract, ["a", "b", "c"])
    images = np.random.default_rng(0).normal(size=(5, 3, *SIZE)).astype(np.float32)
    got = open_runtime(tmp_path / "m.onnx")(images)
    assert got.dtype == np.float32
    with torch.inference_mode():
        np.testing.assert_allclose(got, model(torch.from_numpy(images)).numpy(), atol=1e-5)


class Reshaped(Base):
    """Two reshapes to one shape, whose first number is that of the images: attention does it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        a, b = x.reshape(len(x), 8, 256), x.relu().reshape(len(x), 8, 256)
        logits: torch.Tensor = self.fc((a * b).mean(2))
        return logits


def test_reshapes_that_share_their_shape_go_the_fast_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The exporter writes allowzero on every reshape: left on one of them, 0 means an empty axis."""
    exported = fp32._exported
    tried: list[bool] = []

    def shared(model: nn.Module, example: torch.Tensor, *, symbolic: bool) -> onnx.ModelProto:
        tried.append(symbolic)
        return exported(model, example, symbolic=symbolic)

    free = fp32._free_batch

    def one_constant(graph: onnx.ModelProto, traced: int) -> onnx.ModelProto:
        reshapes = [node for node in graph.graph.node if node.op_type == "Reshape"]
        assert len(reshapes) == 2
        for node in reshapes:
            node.input[1] = reshapes[0].input[1]
            del node.attribute[:]
            node.attribute.append(onnx.helper.make_attribute("allowzero", 1))
        return free(graph, traced)

    monkeypatch.setattr(fp32, "_exported", shared)
    monkeypatch.setattr(fp32, "_free_batch", one_constant)
    fp32.to_onnx(
        Reshaped().eval(), tmp_path / "m.onnx", Preprocess(resize_size=SIZE, crop=SIZE), ["a", "b", "c"]
    )
    assert tried == [False]


def test_a_full_disk_is_no_fault_of_an_opset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(graph: onnx.ModelProto, path: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fp32.onnx, "save_model", full)
    with pytest.raises(OSError, match="No space left on device"):
        fp32.to_onnx(
            Base().eval(), tmp_path / "m.onnx", Preprocess(resize_size=SIZE, crop=SIZE), ["a", "b", "c"]
        )


def test_what_the_exporter_cannot_write_is_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    contract = Preprocess(resize_size=SIZE, crop=SIZE)
    with pytest.raises(
        fp32.EdgeTLError, match=r"exporter cannot write this model .*Rewrite the operation"
    ) as caught:
        fp32.to_onnx(Branching().eval(), tmp_path / "m.onnx", contract, ["a", "b", "c"])
    assert "opset works" not in str(caught.value)
    assert "\n" not in str(caught.value)
