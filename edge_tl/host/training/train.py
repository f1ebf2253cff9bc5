"""The loop: stages, epochs, steps, in the order things happen; it must not choose a strategy or read a recipe's data.

Alone, or as one of several processes that Hugging Face Accelerate joins. Everything random is drawn from (seed, epoch,
step or image), so the state of a training is its tensors and a few counters: a run killed at any moment and resumed
ends in the same bytes.
"""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils.memory import should_reduce_batch_size
from torch import nn
from torch.nn.functional import cross_entropy

from edge_tl.host import processes
from edge_tl.host.images import augment, batches, shared_memory
from edge_tl.host.images.batches import draw
from edge_tl.host.images.decoded import Store
from edge_tl.host.listeners import Note, Watch, no_note, no_watch
from edge_tl.host.training import inference, resume, strategy
from edge_tl.host.training.average import averaged, reach
from edge_tl.host.training.job import Job, Position
from edge_tl.target.errors import BadInput, EdgeTLError

# Weight of an auxiliary head's loss (Szegedy et al., "Going Deeper with Convolutions", 2015).
_AUXILIARY = 0.4


class _Diverged(Exception):
    """The loss is NaN or infinite; holds the files of the batch."""


def fit(
    job: Job,
    folder: Path,
    *,
    key: str,
    watch: Watch = no_watch,
    note: Note = no_note,
) -> Position:
    """Train `job.model` in place and leave in it the weights of the epoch with the best validation accuracy.

    The state is kept in `folder` and gone on from when it is there and belongs to `key`, a digest of everything
    that the result depends on. Raises `BadInput` when a state of something else is there or one image does not fit
    into memory, `EdgeTLError` when the loss is not a number even at half the rate, `OSError` when the disk is full;
    the last checkpoint is then still whole.
    """
    trainer = _Trainer(job, folder, key, watch, note)
    if not trainer.restore():
        trainer.judge_start()
        trainer.save()
    while trainer.at.stage < len(job.stages):
        try:
            trainer.run_stage()
        except _Diverged as diverged:
            trainer.back_off(str(diverged))
    return trainer.finish()


class _Trainer:
    def __init__(self, job: Job, folder: Path, key: str, watch: Watch, note: Note) -> None:
        settings = job.recipe.train
        self.job, self.folder, self.key, self.watch, self.note = job, folder, key, watch, note
        self.settings, self.seed = settings, job.recipe.seed
        self.said: set[str] = set()
        self.accelerator = Accelerator(cpu=not torch.cuda.is_available())
        self.device = self.accelerator.device
        self.bf16 = settings.precision == "bf16" or (
            settings.precision == "auto" and self.device.type == "cuda" and torch.cuda.is_bf16_supported()
        )
        if self.device.type == "cpu":
            torch.set_num_threads(processes.threads())
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = not settings.deterministic
            torch.use_deterministic_algorithms(settings.deterministic, warn_only=True)
        self.model = job.model.to(self.device).to(memory_format=torch.channels_last)
        self.steps = batches.steps_per_epoch(len(job.labels), settings.batch_size)
        self.ends = np.cumsum([stage.epochs for stage in job.stages]).tolist()
        decay = reach(settings.ema, self.steps * self.ends[-1])
        self.average = averaged(self.model, decay) if decay > 0 else None
        self.at = Position(steps=self.steps, micro_batch=settings.micro_batch or settings.batch_size)
        self.mix = augment.of_batch(job.recipe.augment, job.classes)
        self.weights = self._class_weights()
        self.started = self.saved = perf_counter()
        self._stage_ready = -1
        self._make_stage(0)
        if self.device.type == "cuda" and isinstance(job.train, Store):
            free, _ = torch.cuda.mem_get_info()
            if job.train.bytes < free // 2:
                job.train.to(self.device)

    # -- one stage --------------------------------------------------------------------------------------------

    def run_stage(self) -> None:
        """From where `self.at` says to the end of its stage."""
        at, stage = self.at, self.job.stages[self.at.stage]
        self._make_stage(at.stage)
        keys = batches.Plan(
            self.job.labels,
            self.seed,
            range(at.epoch, self.ends[at.stage]),
            self.settings.batch_size,
            self.settings.balance,
            (processes.rank(), processes.count()),
            skip=at.step,
        )
        means = self._handover()
        loader = batches.augmented(self._dataset(), keys, means.workers, pipes=means.pipes)
        pending: tuple[torch.Tensor, list[batches.Key]] | None = None
        clock, images = perf_counter(), 0
        for keys_of_batch, pixels in zip(keys, loader, strict=True):
            loss = self._step(pixels, [i for _, i in keys_of_batch], stage)
            # A GPU is a step ahead of Python; asking for this step's loss would make it wait.
            self._check(pending)
            pending = (loss, keys_of_batch)
            at.step += 1
            images += self.settings.batch_size
            if at.step == self.steps or self.device.type == "cpu" or processes.many():
                self._check(pending)
                pending = None
            speed = images / (perf_counter() - clock)
            if at.step < self.steps:
                if perf_counter() - self.saved > self.settings.checkpoint_seconds:
                    self._check(pending)
                    pending = None
                    self.save()
                self._tell_step(stage, speed)
                continue
            self._end_epoch(stage, speed, keys_of_batch)
            if self.settings.patience and at.since_best >= self.settings.patience:
                self.note(f"stopped early: no better validation accuracy for {at.since_best} epochs")
                at.stage = len(self.job.stages)
                break
        else:
            at.stage += 1
            if at.stage < len(self.job.stages):  # the next stage's optimizer is what it goes on with
                self._make_stage(at.stage)
        self.save()

    def _step(self, pixels: torch.Tensor, images: list[int], stage: strategy.Stage) -> torch.Tensor:
        """One optimizer step over the whole batch, in as many pieces as memory asks for; returns the mean loss."""
        at, job = self.at, self.job
        while True:
            try:
                torch.manual_seed(draw(self.seed, "step", at.epoch, at.step, processes.rank()))
                inputs = augment.as_inputs(pixels, job.contract.mean, job.contract.std, self.device)
                target = torch.from_numpy(job.labels[images]).to(self.device)
                if self.mix is not None:
                    inputs, target = self.mix(inputs, target)
                total = torch.zeros((), device=self.device)
                # Even pieces: BatchNorm cannot estimate statistics from one image that is left over.
                pieces = -(-len(inputs) // max(at.micro_batch // processes.count(), 1))
                parts = zip(inputs.tensor_split(pieces), target.tensor_split(pieces), strict=True)
                for number, (some, expected) in enumerate(parts, 1):
                    last = number == pieces
                    with contextlib.nullcontext() if last else self.accelerator.no_sync(self.trained):
                        loss = self._loss(some, expected).sum() / len(inputs)
                        self.accelerator.backward(loss)
                    total += loss.detach()
                break
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                self._halve(error)
        if self.settings.clip_norm:
            norm = self.accelerator.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
            total = torch.where(torch.isfinite(norm), total, torch.nan)
        steps_done = at.step + self.steps * (at.epoch - self._first_epoch())
        done = steps_done / (self.steps * stage.epochs)
        scale = at.rate * strategy.factor(self.settings.schedule, self.settings.warmup, done)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * scale
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return total

    def _loss(self, inputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Cross entropy `(n,)`, an auxiliary head's beside it where the model has one."""
        smoothing = self.settings.label_smoothing
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            answer = self.trained(inputs)
        logits, *auxiliary = answer if isinstance(answer, tuple) else (answer,)
        loss = cross_entropy(
            logits.float(), target, self.weights, reduction="none", label_smoothing=smoothing
        )
        for other in auxiliary:
            loss = loss + _AUXILIARY * cross_entropy(
                other.float(), target, self.weights, reduction="none", label_smoothing=smoothing
            )
        return loss

    def _end_epoch(self, stage: strategy.Stage, speed: float, keys: list[batches.Key]) -> None:
        at, size = self.at, self.job.sizes[self.at.epoch]
        logits = self.logits()
        if not torch.isfinite(logits).all():  # the last step broke the weights: no state to keep
            raise _Diverged(self._files(keys))
        expected = torch.from_numpy(self.job.val_labels)
        accuracy = float((logits.argmax(1) == expected).double().mean())
        entry = {
            "stage": stage.name,
            "epoch": at.epoch + 1,
            "epochs": self.ends[-1],
            "train_loss": at.loss_sum / self.steps,
            "val_loss": float(cross_entropy(logits, expected)),
            "val_accuracy": accuracy,
            "lr": self.optimizer.param_groups[-1]["lr"],
            "image_size": size,
            "images_per_s": speed,
            "seconds": self._seconds(),
            "best": accuracy > at.best,
        }
        at.history.append(entry)
        at.since_best = 0 if entry["best"] else at.since_best + 1
        at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0
        if entry["best"]:
            at.best, at.best_epoch = accuracy, at.epoch
            self._keep(resume.BEST)
        self.watch({"kind": "epoch", **entry})
        if at.epoch < self.ends[at.stage]:
            self.save()

    # -- what can go wrong ------------------------------------------------------------------------------------

    def _check(self, pending: tuple[torch.Tensor, list[batches.Key]] | None) -> None:
        if pending is None:
            return
        loss, keys = pending
        value = float(loss)
        if processes.many():
            value = float(self.accelerator.reduce(loss, "mean"))
        if not math.isfinite(value):
            raise _Diverged(self._files(keys))
        self.at.loss_sum += value

    def _files(self, keys: list[batches.Key]) -> str:
        return ", ".join(self.job.names[i] for _, i in keys)

    def back_off(self, files: str) -> None:
        """After a loss that is no number: the last good state, once, at half the rate."""
        if self.at.rate < 1:
            raise EdgeTLError(
                f"the loss is not a number even at half the learning rate. The last batch: {files}. "
                "Look at these files, or lower --set train.lr."
            )
        epoch, step = self.at.epoch + 1, self.at.step
        self.restore()
        self.at.rate = 0.5
        self.save()
        self.note(
            f"the loss was not a number in epoch {epoch} after step {step}: back to the last checkpoint, "
            "at half the learning rate"
        )

    def _halve(self, error: RuntimeError) -> None:
        at = self.at
        self.optimizer.zero_grad()
        if at.micro_batch <= processes.count() or processes.many():
            raise BadInput(
                f"out of memory with {at.micro_batch} images at once ({str(error).splitlines()[0][:120]}). "
                "Use a smaller --image-size or model, or --set train.micro_batch=N."
            ) from None
        at.micro_batch = (at.micro_batch + 1) // 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.note(
            f"out of memory: {at.micro_batch} images at once from now on, "
            f"still {self.settings.batch_size} a step (gradients are accumulated)"
        )

    # -- state ------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint; every process is at the same step, so one writes for all."""
        if processes.is_main():
            self.at.seconds = self._seconds()
            tensors = resume.pack(self.model, self.average, self.optimizer)
            facts = {"key": self.key, "at": vars(self.at), "threads": torch.get_num_threads()}
            resume.write_tensors(self.folder / resume.STATE, tensors, facts)
        self.started = self.saved = perf_counter()

    def restore(self) -> bool:
        """Go to the checkpoint, if there is one."""
        processes.wait()
        path = self.folder / resume.STATE
        if not path.is_file():
            return False
        tensors, facts = resume.read_tensors(path)
        if facts["key"] != self.key:
            raise BadInput(
                f"{self.folder}: holds the unfinished training of another recipe, data set or version. "
                "Resume with what it was started with, or remove the folder."
            )
        if self.device.type == "cpu" and facts["threads"] != torch.get_num_threads():
            # Sums are split among the threads, and floating-point sums depend on the order.
            self.note(
                f"trained with {facts['threads']} threads so far, with {torch.get_num_threads()} from here on: the "
                "weights will differ in their last digits from those of an uninterrupted run"
            )
        self.at = Position(**facts["at"])
        self._make_stage(min(self.at.stage, len(self.job.stages) - 1))
        resume.unpack(tensors, self.model, self.average, self.optimizer)
        self.started = self.saved = perf_counter()
        return True

    def judge_start(self) -> None:
        """A solved head is the first candidate for the best epoch: fine-tuning must beat it to be kept."""
        logits = self.logits()
        self.at.best = float((logits.argmax(1) == torch.from_numpy(self.job.val_labels)).double().mean())
        self._keep(resume.BEST)

    def finish(self) -> Position:
        """Keep the last weights beside the best, and load the best."""
        self._keep(resume.LAST)
        processes.wait()
        best, _ = resume.read_tensors(self.folder / resume.BEST)
        self.model.load_state_dict(best)
        self.job.model.to("cpu").to(memory_format=torch.contiguous_format).eval().requires_grad_(True)
        return self.at

    def _keep(self, name: str) -> None:
        if processes.is_main():
            resume.write_tensors(self.folder / name, self._judged().state_dict(), {"epoch": self.at.epoch})

    # -- parts ------------------------------------------------------------------------------------------------

    def logits(self) -> torch.Tensor:
        """float32 `(n, classes)` of the model that would be kept, over the validation images."""
        return inference.logits(self._judged(), self.job.val, self.job.contract, self.device, bf16=self.bf16)

    def _judged(self) -> nn.Module:
        return self.model if self.average is None or not int(self.average.n_averaged) else self.average.module

    def _make_stage(self, number: int) -> None:
        first = self.job.stages[number].first
        if self._stage_ready != number:
            stage = self.job.stages[number]
            strategy.prepare(self.model, self.job.blocks, first)
            fused = self.device.type == "cuda"
            plain = strategy.optimizer(self.model, self.job.blocks, stage, self.settings, fused=fused)
            network = torch.compile(self.model) if self.settings.compile else self.model
            self.trained, self.optimizer = self.accelerator.prepare(network, plain)
            self._stage_ready = number
        strategy.train_mode(self.model, self.job.blocks, first, self.settings.batch_norm)

    def _first_epoch(self) -> int:
        return int(self.ends[self.at.stage] - self.job.stages[self.at.stage].epochs)

    def _dataset(self) -> batches.Augmented:
        made: dict[int, Any] = {}
        for size in self.job.sizes:
            if size not in made:
                made[size] = augment.of_image(self.job.recipe.augment, size, self.job.contract)
        return batches.Augmented(self.job.train, [made[size] for size in self.job.sizes], self.seed)

    def _handover(self) -> shared_memory.Handover:
        if isinstance(self.job.train, Store) and self.job.train.resident:
            return shared_memory.Handover(0)
        asked = self.settings.workers
        workers = min(processes.threads(), 16) if asked is None else asked
        images = -(-min(self.settings.batch_size, len(self.job.labels)) // processes.count())
        batch = 3 * images * max(self.job.sizes) ** 2
        found = shared_memory.handover(workers, batch, processes=processes.count())
        if found.note and found.note not in self.said:
            self.said.add(found.note)
            self.note(found.note)
        return found

    def _class_weights(self) -> torch.Tensor | None:
        if self.settings.balance != "weights":
            return None
        return batches.class_weights(self.job.labels, self.job.classes).to(self.device)

    def _seconds(self) -> float:
        return self.at.seconds + perf_counter() - self.started

    def _tell_step(self, stage: strategy.Stage, speed: float) -> None:
        at = self.at
        left = self.steps * (self.ends[-1] - at.epoch) - at.step
        self.watch(
            {
                "kind": "step",
                "stage": stage.name,
                "epoch": at.epoch + 1,
                "epochs": self.ends[-1],
                "step": at.step,
                "steps": self.steps,
                "loss": at.loss_sum / max(at.step, 1),
                "lr": self.optimizer.param_groups[-1]["lr"],
                "images_per_s": speed,
                "remaining_s": left * self.settings.batch_size / speed,
            }
        )
