"""A training's state on disk: every bit comes back, or the file is refused; a full disk costs nothing."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from edge_tl.device.errors import BadInput, ReadError
from edge_tl.device.images import reading
from edge_tl.host.training import resume

REPOSITORY = Path(__file__).parents[3]


def parts(kind: str) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    """A small network, channels last as on a GPU, its average and an optimizer with groups."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.LazyLinear(3)
    )
    model(torch.zeros(2, 3, 8, 8))
    model = model.to(memory_format=torch.channels_last)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.5), use_buffers=True)
    groups: list[dict[str, Any]] = [
        {"params": list(model[0].parameters()), "lr": 0.01},
        {"params": list(model[3:].parameters())},
    ]
    fused = kind.startswith("fused")
    if kind.endswith("adamw"):
        return model, average, torch.optim.AdamW(groups, lr=0.02, fused=fused)
    return model, average, torch.optim.SGD(groups, lr=0.02, momentum=0.9, nesterov=True, fused=fused)


def steps(model: nn.Module, average: Any, optimizer: torch.optim.Optimizer, numbers: range) -> None:
    for number in numbers:
        torch.manual_seed(number)
        loss = model(torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update_parameters(model)


@pytest.mark.parametrize("kind", ["sgd", "adamw", "fused sgd", "fused adamw"])
@pytest.mark.parametrize("done", [0, 1, 3])
def test_going_on_is_as_if_nothing_had_happened(tmp_path: Path, kind: str, done: int):
    whole = parts(kind)
    steps(*whole, range(done))
    resume.write_tensors(tmp_path / "s", resume.pack(*whole), {"at": {"epoch": done}})
    steps(*whole, range(done, 6))

    tensors, facts = resume.read_tensors(tmp_path / "s")
    assert facts == {"at": {"epoch": done}}
    again = parts(kind)
    steps(*again, range(40, 42))  # whatever it did before must not matter
    resume.unpack(tensors, *again)
    steps(*again, range(done, 6))
    want, got = resume.pack(*whole), resume.pack(*again)
    assert want.keys() == got.keys()
    for key in want:
        assert torch.equal(want[key], got[key]), key
        assert want[key].dtype == got[key].dtype
    assert any(key.startswith("optimizer.") for key in want)
    assert [g["lr"] for g in again[2].param_groups] == [0.01, 0.02]


def test_the_state_lies_as_its_parameter_does(tmp_path: Path):
    """A fused step walks both as flat memory; a file holds every tensor in rows."""
    whole = parts("fused adamw")
    steps(*whole, range(1))
    resume.write_tensors(tmp_path / "s", resume.pack(*whole), {})
    again = parts("fused adamw")
    resume.unpack(resume.read_tensors(tmp_path / "s")[0], *again)
    assert any(not p.is_contiguous() for p in again[0].parameters())
    for parameter, slots in again[2].state.items():
        for value in slots.values():
            assert value.ndim == 0 or value.stride() == parameter.stride()


def test_on_a_gpu_the_state_goes_where_its_parameter_is(tmp_path: Path):
    """PyTorch's own check of devices and of a fused step, without a GPU."""
    whole = parts("fused adamw")
    steps(*whole, range(1))
    resume.write_tensors(tmp_path / "s", resume.pack(whole[0], None, whole[2]), {})
    tensors, _ = resume.read_tensors(tmp_path / "s")
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cuda"):
        model = nn.Sequential(
            nn.Conv2d(3, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 4, 3),
            nn.Flatten(),
            nn.Linear(64, 3),
        )
        for layer in (model[0], model[3]):
            assert isinstance(layer, nn.Conv2d)
            kernel = layer.weight.detach().to(memory_format=torch.channels_last)
            layer.weight = nn.Parameter(kernel)
        groups = [{"params": list(model[0].parameters())}, {"params": list(model[3:].parameters())}]
        optimizer = torch.optim.AdamW(groups, fused=True)
        resume.unpack(tensors, model, None, optimizer)
        model(torch.zeros(4, 3, 8, 8))
        for parameter in model.parameters():  # a backward pass on "cuda" asks the driver; a step does not
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        for trained, slots in optimizer.state.items():
            assert all(value.device.type == "cuda" for value in slots.values())
            assert slots["exp_avg"].stride() == trained.stride()


def test_what_is_not_finite_is_named():
    good = {
        "a": torch.ones(3),
        "n": torch.tensor(3),
        "empty": torch.zeros(0),
        "half": torch.ones(2).bfloat16(),
    }
    assert resume.not_finite(good) is None
    assert resume.not_finite({}) is None
    assert resume.not_finite(good | {"b": torch.tensor([1.0, torch.nan])}) == "b"
    assert resume.not_finite(good | {"b": torch.tensor(-torch.inf)}) == "b"


def test_without_an_average(tmp_path: Path):
    model, _, optimizer = parts("sgd")
    tensors = resume.pack(model, None, optimizer)
    assert all(key.startswith("model.") for key in tensors)
    resume.unpack(tensors, model, None, optimizer)


def test_tied_weights_are_written_whole(tmp_path: Path):
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
            self.b.weight = self.a.weight

    model = Tied()
    resume.write_tensors(tmp_path / "s", model.state_dict(), {})
    tensors, _ = resume.read_tensors(tmp_path / "s")
    other = Tied()
    other.load_state_dict(tensors)
    assert torch.equal(other.b.weight, model.a.weight)
    assert other.b.weight is other.a.weight


@pytest.mark.parametrize("keep", [0, 7, 8, 100, 0.5, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: float):
    path = tmp_path / "state.safetensors"
    resume.write_tensors(path, {"a": torch.arange(100.0)}, {"x": 1})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(BadInput, match=r"state\.safetensors: not a training state .*Remove it"):
        resume.read_tensors(path)


@pytest.mark.parametrize("kind", ["no facts", "no json", "text", "absent", "folder"])
def test_a_foreign_file_is_refused(tmp_path: Path, kind: str):
    path = tmp_path / "state.safetensors"
    if kind == "no facts":
        safetensors.torch.save_file({"a": torch.zeros(1)}, path)
    elif kind == "no json":
        safetensors.torch.save_file({"a": torch.zeros(1)}, path, {"edge_tl": "{"})
    elif kind == "text":
        path.write_text("I am a text that is no safetensors file")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(BadInput, match="not a training state"):
        resume.read_tensors(path)


def test_a_busy_machine_is_not_a_damaged_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It was told to remove the file, and with it hours of training."""
    resume.write_tensors(tmp_path / "state.safetensors", {"a": torch.ones(2)}, {"step": 3})

    def busy(*anything: Any, **more: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(reading, "_PAUSES", ())
    monkeypatch.setattr(Path, "open", busy)
    with pytest.raises(ReadError, match="Too many open files"):
        resume.read_tensors(tmp_path / "state.safetensors")


def test_steps_done(tmp_path: Path):
    assert resume.steps_done(tmp_path / "absent") is None
    resume.write_tensors(tmp_path / "s", {}, {"at": {"epoch": 2, "steps": 10, "step": 3}})
    assert resume.steps_done(tmp_path / "s") == 23


FULL = """
import resource, signal, sys
import torch
from pathlib import Path
from edge_tl.host.training import resume
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    resume.write_tensors(Path(sys.argv[1]), {"a": torch.ones(100_000)}, {"n": 2})
except OSError as error:
    print("OSError", error)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs a limit on the size of files")
def test_a_disk_that_is_full_leaves_the_state_before(tmp_path: Path):
    """A real refusal of the system to write more, in the middle of the file."""
    path = tmp_path / "state.safetensors"
    resume.write_tensors(path, {"a": torch.zeros(100_000)}, {"n": 1})
    before = path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.stdout.startswith("OSError [Errno 27] File too large"), done.stdout + done.stderr
    assert str(path) in done.stdout
    assert path.read_bytes() == before
    tensors, facts = resume.read_tensors(path)
    assert (facts, float(tensors["a"].sum())) == ({"n": 1}, 0.0)
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]  # no half of a file beside it


def test_what_does_not_read_back_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Facts that the header cannot hold as they are would be lost; better now than at the resume."""
    path = tmp_path / "s"
    resume.write_tensors(path, {"a": torch.zeros(2)}, {"n": 1})
    save = safetensors.torch.save_file
    monkeypatch.setattr(
        safetensors.torch,
        "save_file",
        lambda tensors, file, header: save(tensors, file, {"edge_tl": json.dumps({})}),
    )
    with pytest.raises(OSError, match="does not read back"):
        resume.write_tensors(path, {"a": torch.ones(2)}, {"n": 2})
    assert resume.read_tensors(path)[1] == {"n": 1}
