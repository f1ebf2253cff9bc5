"""The loop on real digits at 32 pixels: what it computes, what it survives, and that a kill costs nothing but time."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pretend
import pytest
import torch
from listening import Listening
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_post_hook

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.device.listener import SILENT
from edge_tl.host.images import batches, pixel_cache
from edge_tl.host.images.augment import model_inputs
from edge_tl.host.listeners import EpochEvent, StepEvent
from edge_tl.host.models import architecture
from edge_tl.host.models.blocks import backbone_blocks
from edge_tl.host.models.contracts import ContractChanges
from edge_tl.host.models.weights import PretrainedModel, open_pretrained
from edge_tl.host.recipe import load as recipes
from edge_tl.host.runs import checkpoint
from edge_tl.host.runs.record import EpochRecord
from edge_tl.host.seeded import derive_seed
from edge_tl.host.training import inference, resume, strategy
from edge_tl.host.training.ema import reach
from edge_tl.host.training.job import Position
from edge_tl.host.training.network import Network
from edge_tl.host.training.train import TrainingJob, fit

SIDE, CLASSES, TRAIN, VAL = 32, 3, 40, 12
Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module", autouse=True)
def on_the_cpu() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield


@pytest.fixture(scope="module")
def source() -> PretrainedModel:
    return open_pretrained("mobilenet_v3_small", "embedded", ContractChanges(image_size=SIDE))


@pytest.fixture(scope="module")
def files(digits: Path) -> list[tuple[Path, int]]:
    """Digits 0, 1 and 2 in turn, with labels."""
    of = [sorted((digits / str(label)).iterdir()) for label in range(CLASSES)]
    return [(of[i % CLASSES][i // CLASSES], i % CLASSES) for i in range(TRAIN + VAL)]


Make = Callable[..., TrainingJob]


@pytest.fixture(scope="module")
def make(source: PretrainedModel, files: list[tuple[Path, int]]) -> Make:
    """`make("full", n=8, batch_size=4, augment={…})` is a fresh job; settings are those of `train`."""

    def job(
        name: str = "full", *, n: int = TRAIN, augment: Any = None, sizes: Any = None, **settings: Any
    ) -> TrainingJob:
        plain = {"epochs": 2, "batch_size": 8, "workers": 0, "ema": 0.0, "batch_norm": "frozen"}
        plain |= {"optimizer": "sgd", "schedule": "cosine"}
        settings = plain | {"strategy": name} | settings
        recipe = recipes.parse({"train": settings, "augment": augment or {"preset": "none"}})
        model = copy.deepcopy(source.model)
        torch.manual_seed(0)
        architecture.set_head(
            model,
            source.head,
            architecture.make_head(architecture.feature_width(model, source.head), CLASSES),
        )
        blocks = backbone_blocks(model, source.head)
        stages = strategy.stages(name, len(blocks), recipe.train)
        seen, unseen = files[:n], files[TRAIN:]
        mode = recipe.train.batch_norm
        assert mode != "auto"
        return TrainingJob(
            model=model,
            blocks=blocks,
            stages=stages,
            train=pixel_cache.UncachedImages(
                [p for p, _ in seen], pixel_cache.ShrinkShorterSide(SIDE, "bicubic")
            ),
            labels=np.array([label for _, label in seen], np.int64),
            names=[str(p) for p, _ in seen],
            val=pixel_cache.UncachedImages(
                [p for p, _ in unseen], pixel_cache.ContractPixels(source.contract)
            ),
            val_labels=np.array([label for _, label in unseen], np.int64),
            classes=CLASSES,
            contract=source.contract,
            val_contract=source.contract,
            recipe=recipe,
            sizes=sizes or [SIDE] * sum(stage.epochs for stage in stages),
            batch_norm=mode,
        )

    return job


def place(event: StepEvent | EpochEvent) -> tuple[int, int | None]:
    """The epoch, and the step of a step."""
    return (event.epoch, event.step) if isinstance(event, StepEvent) else (event.record.epoch, None)


def state_of(model: nn.Module) -> Tensors:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


def same(a: Tensors, b: Tensors) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def whole_set(job: TrainingJob) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.stack([job.train[i] for i in range(len(job.labels))])
    inputs = model_inputs(
        nn.functional.interpolate(pixels, SIDE), job.contract.mean, job.contract.std, torch.device("cpu")
    )
    return inputs, torch.from_numpy(job.labels)


# -- what it computes ----------------------------------------------------------------------------------------------


def test_it_learns_and_says_what_happened(make: Make, tmp_path: Path):
    job = make("full", epochs=6, lr=0.02)
    events: list[StepEvent | EpochEvent] = []
    before = state_of(job.model)
    end = fit(job, tmp_path, key="k", listener=Listening(event=events.append))
    assert [place(event) for event in events] == [
        (epoch, step) for epoch in range(1, 7) for step in (1, 2, 3, 4, None)
    ]
    assert [EpochEvent(entry) for entry in end.history] == [e for e in events if isinstance(e, EpochEvent)]
    first, last = (entry.train_loss for entry in (end.history[0], end.history[-1]))
    assert first is not None
    assert last is not None
    assert last < first
    accuracies = [entry.val_accuracy for entry in end.history if entry.val_accuracy is not None]
    assert len(accuracies) == len(end.history)
    assert end.best == max(accuracies) > 0.8
    assert end.history[end.best_epoch - 1].val_accuracy == end.best
    assert not same(before, state_of(job.model))
    assert not job.model.training
    assert all(p.requires_grad for p in job.model.parameters())
    with torch.inference_mode():
        inputs = model_inputs(
            torch.stack([job.val[i] for i in range(VAL)]),
            job.contract.mean,
            job.contract.std,
            torch.device("cpu"),
        )
        right = (job.model(inputs.contiguous()).argmax(1).numpy() == job.val_labels).mean()
    assert right == pytest.approx(end.best)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("balance", ["none", "weights"])
def test_the_loss_is_pytorchs_on_the_whole_batch(make: Make, tmp_path: Path, smoothing: float, balance: str):
    """One step over everything, in pieces: the reported loss is the one before the step."""
    crooked = make(
        "full", n=10, epochs=1, batch_size=10, micro_batch=4, label_smoothing=smoothing, balance=balance
    )
    digits = crooked.labels.copy()
    weights = None
    if balance == "weights":
        weights = torch.tensor(
            compute_class_weight("balanced", classes=np.arange(CLASSES), y=digits), dtype=torch.float32
        )
    # With crop 1 and no augmentation training frames 8 px digits as the contract does, which is bicubic here.
    pixels = torch.stack(
        [torch.tensor(crooked.contract.pixels(p)).permute(2, 0, 1) for p in map(Path, crooked.names)]
    )
    inputs = model_inputs(pixels, crooked.contract.mean, crooked.contract.std, torch.device("cpu"))
    with torch.no_grad():
        each = cross_entropy(
            crooked.model.eval()(inputs),
            torch.from_numpy(digits),
            weights,
            reduction="none",
            label_smoothing=smoothing,
        )
    end = fit(crooked, tmp_path, key="k")
    assert end.history[0].train_loss == pytest.approx(float(each.mean()), rel=5e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_accumulated_gradients_are_those_of_the_whole_batch(make: Make, tmp_path: Path, optimizer: str):
    states = []
    for micro in (8, 3):  # 3 + 3 + 2: unequal pieces
        job = make("full", micro_batch=micro, optimizer=optimizer, lr=1e-4, augment={"preset": "light"})
        end = fit(job, tmp_path / str(micro), key="k")
        assert end.micro_batch == micro
        states.append(resume.read_tensors(tmp_path / str(micro) / resume.LAST)[0])
    moved = 0.0
    start = state_of(make("full").model)
    for key, whole in states[0].items():
        moved = max(moved, float((whole - start[key]).abs().max()))
        torch.testing.assert_close(states[1][key], whole, rtol=1e-3, atol=2e-5, msg=key)
    assert moved > 2e-4  # ten times the tolerance


def test_pieces_are_as_even_as_they_can_be(make: Make, tmp_path: Path):
    """A piece of one image has no statistics for BatchNorm to estimate."""
    job = make("full", epochs=1, micro_batch=7, batch_norm="train")
    pieces: list[int] = []
    job.model.register_forward_pre_hook(
        lambda module, args: pieces.append(len(args[0])) if module.training else None
    )
    fit(job, tmp_path, key="k")
    assert pieces == [4, 4] * 5


def test_the_average_is_the_exponential_one(make: Make, tmp_path: Path):
    decay, key = 0.5, "classifier.0.weight"
    job = make("full", epochs=2, ema=decay)
    seen: list[torch.Tensor] = []
    fit(
        job,
        tmp_path,
        key="k",
        listener=Listening(event=lambda event: seen.append(job.model.state_dict()[key].detach().clone())),
    )
    assert len(seen) == 10
    expected = seen[0]
    for value in seen[1:]:
        expected = decay * expected + (1 - decay) * value
    last, _ = resume.read_tensors(tmp_path / resume.LAST)
    torch.testing.assert_close(last[key], expected, rtol=1e-5, atol=1e-7)
    assert not torch.allclose(last[key], seen[-1], atol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_blocks_that_stay_frozen_are_the_same_bits_in_what_is_kept(make: Make, tmp_path: Path, decay: float):
    """Through the average too, its counters included."""
    job = make("partial", blocks=2, ema=decay, batch_norm="train")
    for i, module in enumerate(m for m in job.model.modules() if isinstance(m, nn.BatchNorm2d)):
        assert module.num_batches_tracked is not None
        module.num_batches_tracked.fill_(1000 + i)  # published weights have counted
    frozen = {
        id(t) for block in job.blocks[:-2] for m in block for t in m.state_dict(keep_vars=True).values()
    }
    keys = {key for key, value in job.model.state_dict(keep_vars=True).items() if id(value) in frozen}
    before = state_of(job.model)
    fit(job, tmp_path, key="k")
    for name in (resume.LAST, resume.BEST):
        after, _ = resume.read_tensors(tmp_path / name)
        for key in sorted(keys):
            assert torch.equal(after[key], before[key]), (name, key)
    assert len(keys) > 100
    assert not same(before, resume.read_tensors(tmp_path / resume.LAST)[0])


def test_mixed_batches_train_and_change_the_result(make: Make, tmp_path: Path):
    results = {}
    for name, mix in {"no": {}, "mixup": {"mixup": 0.4}, "both": {"mixup": 0.4, "cutmix": 1.0}}.items():
        job = make("full", epochs=1, balance="weights", augment={"preset": "none"} | mix)
        end = fit(job, tmp_path / name, key="k")
        results[name] = end.history[0].train_loss
    assert len(set(results.values())) == 3
    assert all(0.1 < loss < 5 for loss in results.values())


def test_every_epoch_has_its_size(make: Make, tmp_path: Path):
    shapes: list[tuple[int, ...]] = []
    job = make("full", n=16, epochs=3, sizes=[32, 40, 48])
    job.model.register_forward_pre_hook(
        lambda module, args: shapes.append(tuple(args[0].shape[1:])) if module.training else None
    )
    end = fit(job, tmp_path, key="k")
    assert shapes == [(3, side, side) for side in (32, 32, 40, 40, 48, 48)]
    assert [entry.image_size for entry in end.history] == [32, 40, 48]


def test_drawing_classes_evenly_changes_what_is_seen(make: Make, tmp_path: Path):
    job = make("full", epochs=1, balance="sampler")
    assert len(fit(job, tmp_path, key="k").history) == 1


def test_judging_leaves_the_mode_of_every_module(make: Make, source: PretrainedModel):
    job = make()
    strategy.train_mode(job.model, job.blocks, 5, "frozen")
    modes = [module.training for module in job.model.modules()]
    got = inference.logits(job.model, job.val, job.contract, torch.device("cpu"))
    assert [module.training for module in job.model.modules()] == modes
    assert len(set(modes)) == 2
    assert isinstance(job.val, pixel_cache.UncachedImages)
    inputs = np.stack([job.contract.apply(p) for p in job.val._sources])
    with torch.inference_mode():
        want = job.model.eval()(torch.from_numpy(inputs))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


# -- what is kept --------------------------------------------------------------------------------------------------


def test_what_training_does_not_improve_is_kept_as_it_was(make: Make, tmp_path: Path):
    """Labels that are the start's own answers: it cannot be beaten."""
    job = make("full", epochs=2, lr=0.02)
    start = state_of(job.model)
    answers = inference.logits(job.model, job.val, job.contract, torch.device("cpu")).argmax(1).numpy()
    end = fit(replace(job, val_labels=answers), tmp_path, key="k")
    assert (end.best, end.best_epoch) == (1.0, 0)
    assert same(state_of(job.model), start)
    assert same(resume.read_tensors(tmp_path / resume.BEST)[0], start)
    assert not same(resume.read_tensors(tmp_path / resume.LAST)[0], start)


def test_it_stops_early_and_says_so(make: Make, tmp_path: Path):
    job = make("full", epochs=6, lr=1e-9, patience=2)
    answers = inference.logits(job.model, job.val, job.contract, torch.device("cpu")).argmax(1).numpy()
    notes: list[str] = []
    end = fit(replace(job, val_labels=answers), tmp_path, key="k", listener=Listening(note=notes.append))
    assert len(end.history) == 3  # the first, and two that are no better
    assert notes == ["stopped early: neither validation accuracy nor loss got better for 2 epochs"]
    again = fit(replace(make("full", epochs=6, lr=1e-9, patience=2), val_labels=answers), tmp_path, key="k")
    assert len(again.history) == 3  # it does not go on when it is asked again


def test_all_epochs_are_no_early_stop(make: Make, tmp_path: Path):
    """Patience ends in the last epoch: nothing was left out."""
    job = make("full", epochs=3, lr=1e-9, patience=2)
    answers = inference.logits(job.model, job.val, job.contract, torch.device("cpu")).argmax(1).numpy()
    notes: list[str] = []
    end = fit(replace(job, val_labels=answers), tmp_path, key="k", listener=Listening(note=notes.append))
    assert (len(end.history), notes) == (3, [])


def test_a_dip_under_the_start_is_no_early_stop():
    """EfficientNet-Lite0 fell from a solved head's 90.5 % to 85 and was at 89.8, and rising, when it was stopped."""
    at = Position(best=0.905, start=0.905)
    for accuracy, loss, waited in [
        (0.864, 0.403, 0), (0.850, 0.473, 1), (0.857, 0.502, 2), (0.898, 0.468, 0), (0.890, 0.398, 0), (0.89, 0.4, 1),
    ]:  # fmt: skip
        at.end_epoch(
            EpochRecord("all", at.epoch + 1, 10, 1.0, loss, accuracy, 1e-3, 160, 30.0, 90.0, best=False)
        )
        assert at.since_best == waited


def test_it_stops_by_itself_where_nothing_gets_better(make: Make, tmp_path: Path):
    """The default: half of the epochs, at least four; 0 trains them all."""
    for patience, epochs, trained in [(None, 6, 5), (None, 12, 7), (0, 5, 5)]:
        job = make("full", epochs=epochs, lr=1e-9, patience=patience)
        answers = inference.logits(job.model, job.val, job.contract, torch.device("cpu")).argmax(1).numpy()
        end = fit(replace(job, val_labels=answers), tmp_path / str(epochs), key="k")
        assert (len(end.history), end.best_epoch, end.start, end.best) == (trained, 0, 1.0, 1.0)


def test_a_falling_loss_goes_on_although_accuracy_stands_still(make: Make, tmp_path: Path):
    """On a few validation images accuracy moves in steps; the loss shows what is coming."""
    job = make("full", epochs=6, lr=0.02, patience=1, augment={"preset": "none"})
    one_class = replace(job, labels=np.zeros_like(job.labels), val_labels=np.zeros_like(job.val_labels))
    end = fit(one_class, tmp_path, key="k")
    losses = [entry.val_loss for entry in end.history]
    still = [b for a, b in itertools.pairwise(end.history) if b.val_accuracy == a.val_accuracy == 1]
    assert still
    assert len(end.history) > end.best_epoch + 1
    before, best = losses[-2], losses[end.best_epoch - 1]
    assert before is not None
    assert best is not None
    assert before < best


def test_the_first_stage_of_two_is_not_stopped(make: Make, tmp_path: Path):
    job = make("gradual", epochs=12, lr=1e-9, patience=1)
    answers = inference.logits(job.model, job.val, job.contract, torch.device("cpu")).argmax(1).numpy()
    end = fit(replace(job, val_labels=answers), tmp_path, key="k")
    assert [entry.stage for entry in end.history] == ["last blocks"] * 4 + ["all blocks"] * 2


def test_an_estimate_counts_what_validation_takes(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A clock by which only validation takes time: a minute each, and none of it before the end of the last epoch."""
    now = 0.0

    def judged(*args: Any, **kwargs: Any) -> torch.Tensor:
        nonlocal now
        now += 60
        return logits(*args, **kwargs)

    def clock() -> float:
        nonlocal now
        now += 1e-6
        return now

    logits = inference.logits
    monkeypatch.setattr(inference, "logits", judged)
    monkeypatch.setattr("edge_tl.host.training.train.perf_counter", clock)
    events: list[StepEvent | EpochEvent] = []
    bars: list[tuple[str, int, int]] = []
    fit(
        make("full", epochs=3),
        tmp_path,
        key="k",
        listener=Listening(event=events.append, progress=lambda *bar: bars.append(bar)),
    )
    steps = [event for event in events if isinstance(event, StepEvent)]
    left = [event.remaining_s for event in steps]
    epochs = [event.epoch for event in steps]
    assert left == pytest.approx([60.0 * (4 - epoch) for epoch in epochs], abs=1)
    assert min(event.images_per_s for event in steps) > 1000
    assert bars == [("validating", 0, VAL), ("validating", VAL, VAL)]  # a bar before the first epoch


def test_pixels_on_the_device_train_the_same(make: Make, tmp_path: Path):
    """Without augmentation batches made on the device are the workers' bit for bit, and so are the weights."""
    job = make("full", n=16)
    pixel_cache.fill_cache(
        job.names,
        lambda name: pixel_cache.ContractResized(job.contract)(Path(name)),
        tmp_path / "kept",
        SILENT,
    )
    ends = []
    for where in ("files", "device"):
        store = pixel_cache.PixelCache(tmp_path / "kept")
        if where == "device":
            store.to(torch.device("cpu"))
        given = replace(make("full", n=16, workers=1), train=store)
        fit(given, tmp_path / where, key="k")
        ends.append(state_of(given.model))
    assert same(*ends)


# -- what can go wrong ---------------------------------------------------------------------------------------------


def hungry(model: nn.Module, most: int) -> None:
    """More than `most` images at once are more than any machine has memory for: the allocator's own error."""

    def allocate(module: nn.Module, args: tuple[torch.Tensor]) -> None:
        if module.training and len(args[0]) > most:
            torch.empty(1 << 60, dtype=torch.uint8)

    model.register_forward_pre_hook(allocate)


def test_out_of_memory_halves_what_goes_through_at_once(make: Make, tmp_path: Path):
    notes: list[str] = []
    job = make("full", epochs=1)
    hungry(job.model, 3)
    end = fit(job, tmp_path / "a", key="k", listener=Listening(note=notes.append))
    assert [note.split(",")[0] for note in notes] == [
        "out of memory: 4 images at once from now on",
        "out of memory: 2 images at once from now on",
    ]
    assert all("still 8 a step" in note for note in notes)
    assert (end.micro_batch, end.steps, len(end.history)) == (2, 5, 1)
    small = make("full", epochs=1, micro_batch=2)
    fit(small, tmp_path / "b", key="k")
    assert same(
        resume.read_tensors(tmp_path / "a" / resume.LAST)[0],
        resume.read_tensors(tmp_path / "b" / resume.LAST)[0],
    )


def test_one_image_that_does_not_fit_is_refused(make: Make, tmp_path: Path):
    job = make("full")
    hungry(job.model, 0)
    with pytest.raises(BadInput, match=r"out of memory with 1 images at once .*--image-size"):
        fit(job, tmp_path, key="k")


def test_other_errors_of_the_model_are_not_taken_for_a_lack_of_memory(make: Make, tmp_path: Path):
    job = make("full")
    job.model.register_forward_pre_hook(
        lambda module, args: args[0] @ torch.zeros(7, 7) if module.training else None
    )
    with pytest.raises(RuntimeError, match="Expected size"):
        fit(job, tmp_path, key="k")


def poisoned(model: nn.Module, when: Callable[[int], bool]) -> list[int]:
    """Inputs are NaN in the training steps that `when` names, counted from 0."""
    calls: list[int] = []

    def pour(module: nn.Module, args: tuple[torch.Tensor]) -> Any:
        if not module.training:
            return None
        calls.append(len(calls))
        return (args[0] * torch.nan,) if when(calls[-1]) else None

    model.register_forward_pre_hook(pour)
    return calls


@pytest.mark.parametrize("clip", [5.0, None])
def test_a_loss_that_is_no_number_goes_back_once_at_half_the_rate(
    make: Make, tmp_path: Path, clip: float | None
):
    notes: list[str] = []
    settings: dict[str, Any] = {
        "epochs": 2,
        "schedule": "constant",
        "warmup": 0.0,
        "clip_norm": clip,
        "lr": 0.01,
    }
    job = make("full", **settings)
    calls = poisoned(job.model, lambda call: call == 7)  # epoch 2, its third step
    end = fit(job, tmp_path, key="k", listener=Listening(note=notes.append))
    assert len(calls) == 5 + 3 + 5
    assert [entry.lr for entry in end.history] == pytest.approx([0.025, 0.0125])
    assert notes == [
        "the loss was not a number in epoch 2 after step 3: back to the last checkpoint, at half the learning rate"
    ]
    last, _ = resume.read_tensors(tmp_path / resume.LAST)
    assert all(bool(torch.isfinite(value).all()) for value in last.values())


def spoilt(kind: str) -> Callable[[Any, Any, Any], None]:
    """After the seventh step a tensor of the model or the optimizer holds no number."""
    done: list[int] = []

    def hook(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        done.append(1)
        if len(done) == 7:
            parameter, slots = next((p, s) for p, s in optimizer.state.items() if s)
            with torch.no_grad():
                (parameter if kind == "model" else slots["momentum_buffer"]).fill_(torch.nan)

    return hook


@pytest.mark.parametrize("seconds", [0, 1000])
@pytest.mark.parametrize("kind", ["model", "optimizer"])
def test_what_is_not_finite_is_never_saved(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, seconds: float
):
    """The loss before the step that breaks the weights is a number, and no gradient is clipped."""
    write = resume.write_tensors
    notes: list[str] = []

    def finite(path: Path, tensors: Tensors, facts: dict[str, Any]) -> None:
        assert resume.not_finite(tensors) is None, path.name
        write(path, tensors, facts)

    monkeypatch.setattr(resume, "write_tensors", finite)
    handle = register_optimizer_step_post_hook(spoilt(kind))
    settings: dict[str, Any] = {"clip_norm": None, "lr": 0.01, "checkpoint_seconds": seconds}
    try:
        end = fit(
            make("full", epochs=3, **settings), tmp_path, key="k", listener=Listening(note=notes.append)
        )
    finally:
        handle.remove()
    assert len(end.history) == 3
    assert len(notes) == 1
    assert notes[0].endswith("back to the last checkpoint, at half the learning rate")
    assert "not a number in epoch 2 after step" in notes[0]


def test_weights_that_start_broken_are_refused(make: Make, tmp_path: Path):
    job = make("full")
    with torch.no_grad():
        next(job.model.parameters()).view(-1)[0] = torch.inf
    with pytest.raises(BadInput, match=r"start from hold numbers that are not finite \(features"):
        fit(job, tmp_path, key="k")
    assert list(tmp_path.iterdir()) == []


def test_a_mask_may_be_infinite(make: Make, tmp_path: Path):
    job = make("full", n=8, epochs=1, ema=0.5)
    job.model.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    assert len(fit(job, tmp_path, key="k").history) == 1


def test_an_operator_without_a_fixed_order_is_named(make: Make, tmp_path: Path):
    """What PyTorch raises on a GPU where somebody asked for the same bits."""
    job = make("full", deterministic=True)

    def torn(module: nn.Module, args: tuple[torch.Tensor]) -> None:
        if module.training:
            raise RuntimeError(
                "adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation."
            )

    job.model.register_forward_pre_hook(torn)
    with pytest.raises(BadInput, match=r"train\.deterministic: adaptive_avg_pool2d_backward_cuda"):
        fit(job, tmp_path, key="k")


def test_the_second_time_it_ends_and_names_the_images(make: Make, tmp_path: Path):
    job = make("full", epochs=2)
    poisoned(job.model, lambda call: call >= 7)
    with pytest.raises(EdgeTLError, match="not a number even at half the learning rate") as caught:
        fit(job, tmp_path, key="k")
    keys = list(batches.BatchPlan(job.labels, 0, range(2), 8, "none"))[5]  # where epoch 2 begins again
    for i, name in enumerate(job.names):
        assert (name in str(caught.value)) == (i in [image for _, image in keys]), name
    assert same(*(resume.read_tensors(tmp_path / checkpoint.STATE)[0] for _ in range(2)))


@pytest.mark.parametrize("batch_size", [8, 40])
def test_a_rate_that_explodes_ends_with_a_sentence(make: Make, tmp_path: Path, batch_size: int):
    """With one step an epoch the weights are broken before any loss is: what is judged is no number either."""
    job = make("full", epochs=4, batch_size=batch_size, lr=1e30, clip_norm=None, warmup=0.0)
    notes: list[str] = []
    with pytest.raises(EdgeTLError, match="not a number"):
        fit(job, tmp_path, key="k", listener=Listening(note=notes.append))
    assert len(notes) == 1
    tensors, facts = resume.read_tensors(tmp_path / checkpoint.STATE)
    assert facts["at"]["rate"] == 0.5
    assert facts["at"]["history"] == []
    assert same({k.removeprefix("model."): v for k, v in tensors.items()}, state_of(make().model))


def test_a_step_on_a_gpu_leaves_nothing_behind(make: Make):
    """Everything but the backward pass, which asks the driver: images, targets, class weights, a fused step."""
    job = make("full", optimizer="adamw", balance="weights", label_smoothing=0.1, batch_norm="train")
    network = Network(job, 0.0)
    network.prepare(0)
    assert network.class_weights is not None
    with pretend.gpu():
        network.device, network.fused = pretend.CUDA, True
        network.trained = pretend.moved(network.model)
        network.class_weights = network.class_weights.to(pretend.CUDA)
        network.optimizer = strategy.optimizer(
            network.model, job.blocks, job.stages[0], job.recipe.train, fused=True
        )

        def backward(loss: torch.Tensor) -> None:
            for parameter in network.model.parameters():  # in rows, as some kernels leave them
                parameter.grad = torch.zeros(parameter.shape, device=loss.device)

        network.joined = SimpleNamespace(
            backward=backward,
            no_sync=lambda module: contextlib.nullcontext(),
            clip_grad_norm_=nn.utils.clip_grad_norm_,
        )
        loss = network.gradients(torch.zeros(8, 3, SIDE, SIDE, dtype=torch.uint8), list(range(8)), 3)
        norm = network.step(0.5)
        assert norm is not None
        assert (loss.device.type, norm.device.type) == ("cuda", "cuda")
        assert {value.device.type for value in network.state().values()} == {"cuda"}
        assert network.weights_to_keep()(torch.zeros(2, 3, SIDE, SIDE, device="cuda")).device.type == "cuda"


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize("micro_batch", [None, 1])
def test_one_image_at_a_time_trains(make: Make, tmp_path: Path, batch_size: int, micro_batch: int | None):
    """At 32 px the last blocks see one position: BatchNorm has one value a channel, which PyTorch refuses."""
    notes: list[str] = []
    job = make("full", n=4, epochs=1, batch_size=batch_size, micro_batch=micro_batch, batch_norm="train")
    end = fit(job, tmp_path, key="k", listener=Listening(note=notes.append))
    assert len(end.history) == 1
    assert len(notes) == (batch_size == 1 or micro_batch == 1)
    assert all("one image at a time" in note for note in notes)
    assert not any(m._forward_hooks for m in job.model.modules())


# -- killed and resumed --------------------------------------------------------------------------------------------

KINDS: dict[str, dict[str, Any]] = {
    "sgd-ema": {"ema": 0.9, "augment": {"preset": "light"}},
    "adamw": {
        "optimizer": "adamw",
        "batch_norm": "train",
        "schedule": "one-cycle",
        "augment": {"preset": "medium"},
    },
    "gradual-mix": {"name": "gradual", "ema": 0.9, "batch_norm": "train", "blocks": 2}
    | {"augment": {"preset": "strong"}, "balance": "sampler", "micro_batch": 3},
}


class Killed(BaseException):
    """Nothing in the program may catch it."""


def bytes_of(folder: Path) -> list[str]:
    """Digests: the difference of two files of weights, spelled out, would take longer than all tests."""
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (resume.BEST, resume.LAST)]


@pytest.fixture(scope="module")
def uninterrupted(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[str]]:
    done: dict[str, list[str]] = {}

    def of(kind: str) -> list[str]:
        if kind not in done:
            folder = tmp_path_factory.mktemp("whole")
            fit(make(**{"n": 24, "epochs": 3} | KINDS[kind]), folder, key="k")
            done[kind] = bytes_of(folder)
        return done[kind]

    return of


@pytest.mark.parametrize("seconds", [0, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_any_event_it_ends_in_the_same_bytes(
    make: Make, tmp_path: Path, uninterrupted: Callable[[str], list[str]], kind: str, seconds: int
):
    """Again and again after one to four events; a checkpoint after every step, or after epochs only."""
    lives = 0
    for patience in [1, 4, 2, 3, 4, 4, 4, 4, 4, 4, 99]:
        left = patience

        def count(event: StepEvent | EpochEvent) -> None:
            nonlocal left
            left -= 1
            if not left:
                raise Killed

        lives += 1
        try:
            fit(
                make(**{"n": 24, "epochs": 3, "checkpoint_seconds": seconds} | KINDS[kind]),
                tmp_path,
                key="k",
                listener=Listening(event=count),
            )
            break
        except Killed:
            continue
    assert lives > 3
    assert bytes_of(tmp_path) == uninterrupted(kind)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("kind", ["sgd-ema", "gradual-mix"])
def test_killed_around_every_write_it_ends_in_the_same_bytes(
    make: Make,
    tmp_path: Path,
    uninterrupted: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    moment: str,
):
    """Between the best weights and the state that knows of them, for one."""
    write = resume.write_tensors
    killed: set[tuple[str, str]] = set()

    def fragile(path: Path, tensors: Tensors, facts: dict[str, Any]) -> None:
        at = facts.get("at", facts)
        which = path.name, str([at.get(key) for key in ("stage", "epoch", "step")])
        if moment == "after":
            write(path, tensors, facts)
        if which not in killed:
            killed.add(which)
            raise Killed
        if moment == "before":
            write(path, tensors, facts)

    monkeypatch.setattr(resume, "write_tensors", fragile)
    for _ in range(20):
        try:
            fit(make(**{"n": 24, "epochs": 3} | KINDS[kind]), tmp_path, key="k")
            break
        except Killed:
            continue
    assert {name for name, _ in killed} == {checkpoint.STATE, resume.BEST, resume.LAST}
    assert len(killed) >= 6
    assert bytes_of(tmp_path) == uninterrupted(kind)


def test_an_interrupt_costs_nothing(make: Make, tmp_path: Path, uninterrupted: Callable[[str], list[str]]):
    """A signal, where an hour lies between checkpoints: the step ends, and its state is kept."""
    settings = {"n": 24, "epochs": 3, "checkpoint_seconds": 3600} | KINDS["adamw"]
    steps = []

    def kill(event: StepEvent | EpochEvent) -> None:
        if place(event) == (2, 1):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        fit(make(**settings), tmp_path, key="k", listener=Listening(event=kill))
    assert resume.steps_done(tmp_path / checkpoint.STATE) == 3 + 2
    fit(
        make(**settings), tmp_path, key="k", listener=Listening(event=lambda event: steps.append(type(event)))
    )
    assert steps.count(StepEvent) == 2  # of epoch 3; the last step of an epoch is told with the epoch
    assert bytes_of(tmp_path) == uninterrupted("adamw")


def test_a_micro_batch_can_be_changed_on_resume(make: Make, tmp_path: Path):
    """What the message about memory says; without another wish what had been halved stays halved."""

    def stop(event: StepEvent | EpochEvent) -> None:
        raise Killed

    notes: list[str] = []
    job = make("full", epochs=1)
    hungry(job.model, 4)
    with pytest.raises(Killed):
        fit(job, tmp_path, key="k", listener=Listening(event=stop, note=notes.append))
    job = make("full", epochs=1, checkpoint_seconds=0)
    hungry(job.model, 4)
    with pytest.raises(Killed):
        fit(job, tmp_path, key="k", listener=Listening(event=stop))
    job = make("full", epochs=1, checkpoint_seconds=0)
    hungry(job.model, 4)
    again: list[str] = []
    with pytest.raises(Killed):
        fit(job, tmp_path, key="k", listener=Listening(event=stop, note=again.append))
    assert again == []
    job = make("full", epochs=1, micro_batch=2)
    hungry(job.model, 2)
    end = fit(job, tmp_path, key="k", listener=Listening(note=again.append))
    assert again == ["2 images at once from here on"]
    assert end.micro_batch == 2


def test_the_best_weights_are_those_of_the_state(make: Make, tmp_path: Path):
    """Killed between the best weights and the state that knows of them: on a GPU another epoch may be the best then."""
    settings: dict[str, Any] = {"n": 24, "epochs": 2, "lr": 0.05}
    write = resume.write_tensors

    def wrong() -> TrainingJob:
        """All that the start answers is wrong, so that the first epoch is better."""
        job = make("full", **settings)
        answers = inference.logits(job.model, job.val, job.contract, torch.device("cpu")).argmax(1).numpy()
        return replace(job, val_labels=(answers + 1) % CLASSES)

    def killed(path: Path, tensors: Tensors, facts: dict[str, Any]) -> None:
        if path.name == checkpoint.STATE and facts["at"]["epoch"] == 1:
            raise Killed
        write(path, tensors, facts)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resume, "write_tensors", killed)
        with pytest.raises(Killed):
            fit(wrong(), tmp_path, key="k")
    assert resume.read_tensors(tmp_path / resume.BEST)[1] == {"epoch": 1}

    def stop(event: StepEvent | EpochEvent) -> None:
        raise Killed

    with pytest.raises(Killed):
        fit(wrong(), tmp_path, key="k", listener=Listening(event=stop))
    kept, facts = resume.read_tensors(tmp_path / resume.BEST)
    assert facts == {"epoch": 0}
    assert same(kept, state_of(make("full", **settings).model))


@pytest.mark.parametrize("lost", ["altered", "absent"])
def test_best_weights_of_something_else_are_refused(make: Make, tmp_path: Path, lost: str):
    def stop(event: StepEvent | EpochEvent) -> None:
        raise Killed

    with pytest.raises(Killed):
        fit(make(), tmp_path, key="k", listener=Listening(event=stop))
    (tmp_path / resume.BEST).unlink()
    if lost == "altered":
        resume.write_tensors(tmp_path / resume.BEST, state_of(make().model), {"epoch": 7})
    with pytest.raises(BadInput, match="not the best weights that"):
        fit(make(), tmp_path, key="k")


def test_another_seed_is_another_training(
    make: Make, tmp_path: Path, uninterrupted: Callable[[str], list[str]]
):
    job = make(**{"n": 24, "epochs": 3} | KINDS["sgd-ema"])
    fit(replace(job, recipe=job.recipe.model_copy(update={"seed": 1})), tmp_path, key="k")
    assert bytes_of(tmp_path) != uninterrupted("sgd-ema")


def test_the_state_of_something_else_is_refused_and_untouched(make: Make, tmp_path: Path):
    def stop(event: StepEvent | EpochEvent) -> None:
        raise Killed

    with pytest.raises(Killed):
        fit(make(), tmp_path, key="mine", listener=Listening(event=stop))
    before = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in tmp_path.iterdir()}
    with pytest.raises(BadInput, match="unfinished training of another recipe"):
        fit(make(), tmp_path, key="yours")
    assert {path.name: hashlib.sha256(path.read_bytes()).digest() for path in tmp_path.iterdir()} == before


def test_other_threads_than_before_are_named(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They add floating-point numbers in another order, so the promise of the same bytes does not hold."""

    def stop(event: StepEvent | EpochEvent) -> None:
        raise Killed

    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(Killed):
        fit(make(), tmp_path, key="k", listener=Listening(event=stop))
    notes: list[str] = []
    fit(make(), tmp_path, key="k", listener=Listening(note=notes.append))
    assert notes == []
    with pytest.raises(Killed):
        fit(make(), tmp_path / "b", key="k", listener=Listening(event=stop))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    fit(make(), tmp_path / "b", key="k", listener=Listening(note=notes.append))
    torch.set_num_threads(before)
    assert len(notes) == 1
    assert notes[0].startswith("trained with 1 threads so far, with 2 from here on")


@pytest.mark.slow
def test_inceptions_second_head_takes_part_in_the_loss(make: Make, tmp_path: Path):
    """Szegedy et al.: 0.4 of its loss beside the first's; oracle: torchvision's own two outputs."""
    plain = make("full", n=4, epochs=1, batch_size=4, label_smoothing=0.0)
    torch.manual_seed(0)
    model = architecture.build("inception_v3", CLASSES)
    contract = replace(plain.contract, resize_size=(75, 75), crop=(75, 75))
    blocks = backbone_blocks(model, "fc")
    job = replace(
        plain, model=model, blocks=blocks, contract=contract, sizes=[75],
        val=pixel_cache.UncachedImages([Path(n) for n in plain.names], pixel_cache.ContractPixels(contract)),
        val_labels=plain.labels,
        train=pixel_cache.UncachedImages([Path(n) for n in plain.names], pixel_cache.ShrinkShorterSide(75, "bicubic")),
    )  # fmt: skip
    twin = copy.deepcopy(model).to(memory_format=torch.channels_last)
    strategy.train_mode(twin, backbone_blocks(twin, "fc"), 0, "frozen")
    (keys,) = batches.BatchPlan(job.labels, 0, range(1), 4, "none")
    pixels = torch.stack(
        [torch.tensor(contract.pixels(Path(job.names[i]))).permute(2, 0, 1) for _, i in keys]
    )
    torch.manual_seed(derive_seed(0, "step", 0, 0, 0))
    with torch.no_grad():
        first, second = twin(model_inputs(pixels, contract.mean, contract.std, torch.device("cpu")))
    target = torch.from_numpy(job.labels[[i for _, i in keys]])
    expected = cross_entropy(first, target) + 0.4 * cross_entropy(second, target)
    end = fit(job, tmp_path, key="k")
    assert end.history[0].train_loss == pytest.approx(float(expected), rel=1e-2)


@pytest.mark.parametrize(
    ("decay", "steps", "expected"), [(0.99, 1000, 0.99), (0.99, 100, 0.95), (0.9, 10, 0.5)]
)
def test_the_average_reaches_back_over_a_fifth_of_a_short_training(decay: float, steps: int, expected: float):
    assert reach(decay, steps) == pytest.approx(expected)
    assert reach(decay, 5) <= 0  # none at all
