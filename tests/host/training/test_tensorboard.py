"""The event files read back by TensorBoard's own reader."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tensorboard", reason="needs the extra tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edge_tl.device.errors import MissingExtra
from edge_tl.host.listeners import EpochEvent, StepEvent
from edge_tl.host.runs.record import EpochRecord
from edge_tl.host.training.tensorboard import open_tensorboard

STEPS = 4


def step(epoch: int, number: int, loss: float) -> StepEvent:
    return StepEvent(
        stage="full", epoch=epoch, epochs=3, step=number, steps=STEPS,
        loss=loss, lr=0.01 * number, images_per_s=50.0, remaining_s=9.0,
    )  # fmt: skip


def epoch(number: int, accuracy: float, **other: Any) -> EpochEvent:
    place = {"stage": "full", "epoch": number, "epochs": 3, "lr": 0.01, "image_size": 64}
    figures = {"train_loss": 0.5, "val_loss": 1.0 / number, "val_accuracy": accuracy, "best": True}
    return EpochEvent(EpochRecord(**{**place, **figures, "images_per_s": 50.0, "seconds": 2.0, **other}))


def drawn(folder: Path) -> dict[str, list[tuple[int, Any]]]:
    reader = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(e.step, pytest.approx(e.value)) for e in reader.Scalars(tag)]
        for tag in reader.Tags()["scalars"]
    }


def test_every_figure_at_its_step(tmp_path: Path) -> None:
    with open_tensorboard(tmp_path / "tensorboard") as listener:
        for number in (1, 2):
            for i in range(1, STEPS + 1):
                listener.event(step(number, i, number + i / 10))
            listener.event(epoch(number, 0.8 + number / 100))
    got = drawn(tmp_path / "tensorboard")
    assert set(got) == {"loss/train", "loss/val", "accuracy/val", "lr", "speed/images_per_s"}
    assert got["loss/train"] == [(4 * (e - 1) + i, e + i / 10) for e in (1, 2) for i in range(1, 5)]
    assert got["lr"][:4] == [(1, 0.01), (2, 0.02), (3, 0.03), (4, 0.04)]
    assert got["loss/val"] == [(4, 1.0), (8, 0.5)]
    assert got["accuracy/val"] == [(4, 0.81), (8, 0.82)]


def test_a_resumed_run_draws_no_step_twice(tmp_path: Path) -> None:
    with open_tensorboard(tmp_path) as listener:
        for i in range(1, STEPS + 1):
            listener.event(step(1, i, 1.0))
        listener.event(epoch(1, 0.5))
        listener.event(step(2, 1, 2.0))
    with open_tensorboard(tmp_path, resume_at_step=2) as listener:  # the checkpoint held step 2 of epoch 1
        for i in range(3, STEPS + 1):
            listener.event(step(1, i, 3.0))
        listener.event(epoch(1, 0.6))
    got = drawn(tmp_path)
    assert got["loss/train"] == [(1, 1.0), (2, 1.0), (3, 3.0), (4, 3.0)]
    assert got["accuracy/val"] == [(4, 0.6)]


def test_what_was_not_measured_and_what_is_no_number(tmp_path: Path) -> None:
    with open_tensorboard(tmp_path) as listener:
        listener.event(step(1, 1, float("nan")))
        listener.event(epoch(1, 0.5, val_loss=None))
    got = drawn(tmp_path)
    assert "loss/val" not in got
    assert got["loss/train"][0][0] == 1


def test_files_are_whole_after_an_error(tmp_path: Path) -> None:
    def interrupted() -> None:
        with open_tensorboard(tmp_path) as listener:
            listener.event(step(1, 1, 1.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert drawn(tmp_path)["loss/train"] == [(1, 1.0)]


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtra, match=r"edge-tl\[tensorboard\]"), open_tensorboard(tmp_path / "t"):
        pass
    assert not (tmp_path / "t").exists()


def test_writing_asks_no_network_and_says_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; sys.addaudithook(lambda e, a: e.startswith('socket.') and sys.stderr.write(f'{e} {a}\\n'))\n"
        "from pathlib import Path; from edge_tl.host.training.tensorboard import open_tensorboard\n"
        "from edge_tl.host.listeners import StepEvent\n"
        "with open_tensorboard(Path(sys.argv[1])) as listener:\n"
        "    listener.event(StepEvent('full', 1, 1, 1, 1, float('nan'), 0.1, 1.0, 0.0))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, tmp_path], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("socket.gethostname ")]
    assert (done.returncode, done.stdout, said) == (0, "", [])  # a host's own name is part of a file's name
    assert list(tmp_path.iterdir())
