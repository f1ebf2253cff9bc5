"""The loop: stages, epochs, steps, in the order things happen. Chooses no strategy and reads no data of a recipe.

Everything random is drawn from (seed, epoch, step or image), so the state of a training is its tensors and a few
counters: a run killed at any moment and resumed ends in the same bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from accelerate.utils.memory import should_reduce_batch_size
from torch.nn.functional import cross_entropy

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import SILENT, Listener
from edge_tl.host.images import batches
from edge_tl.host.listeners import EpochEvent, StepEvent
from edge_tl.host.runs.record import EpochRecord
from edge_tl.host.seeded import derive_seed
from edge_tl.host.training import batch_norm, distributed, feed, inference, stopping, strategy
from edge_tl.host.training.ema import reach
from edge_tl.host.training.job import Position, TrainingJob
from edge_tl.host.training.network import Network
from edge_tl.host.training.precision import settle_precision
from edge_tl.host.training.recovery import Diverged, given_up, smaller
from edge_tl.host.training.training_state import TrainingState


def fit(job: TrainingJob, folder: Path, *, key: str, listener: Listener = SILENT) -> Position:
    """Train `job.model` in place and leave in it the weights of the epoch with the best validation accuracy.

    The state is kept in `folder` and gone on from when it is there and belongs to `key`, a digest of everything
    that the result depends on. Raises `BadInput` when a state of something else is there or one image does not fit
    into memory, `EdgeTLError` when the loss is not a number even at half the rate, `OSError` when the disk is full;
    the last checkpoint is then still whole. An interrupt ends it after a step, with the state of that step kept; in
    the last step of an epoch, or in its evaluation, with the last checkpoint's.
    """
    if len(job.labels) < distributed.count():
        raise BadInput(
            f"{len(job.labels)} training images for {distributed.count()} processes. Start fewer, or add images."
        )
    # Of several processes each would stop at a step of its own, and the others wait for it.
    with stopping.deferred(not distributed.many()) as stop:
        trainer = _Trainer(job, folder, key, listener, stop)
        with trainer.network.statistics(trainer.at_once()):
            return trainer.run()


class _Trainer:
    def __init__(
        self, job: TrainingJob, folder: Path, key: str, listener: Listener, stop: stopping.Stop
    ) -> None:
        settings = job.recipe.train
        self.stop = stop
        self.epoch_end_s = 0.0
        """Seconds that the end of an epoch takes: validation, above all."""
        self.job, self.listener = job, listener
        self.settings, self.seed = settings, job.recipe.seed
        self.patience = strategy.patience(settings.patience, job.stages[-1].epochs)
        self.steps = batches.steps_per_epoch(len(job.labels), settings.batch_size)
        self.ends = np.cumsum([stage.epochs for stage in job.stages]).tolist()
        # The average of weights that start at random shrinks what every layer gives the next one.
        decay = reach(settings.ema, self.steps * self.ends[-1]) if job.transferred else 0.0
        self.network = Network(job, decay)
        start = Position(
            steps=self.steps,
            micro_batch=settings.micro_batch or settings.batch_size,
            micro_batch_asked=settings.micro_batch or 0,
        )
        self.state = TrainingState(start, job, self.network, folder, key, listener)
        self.last: list[batches.SampleKey] = []
        self.means = feed.plan_feed(job, self.network.device)
        if self.means.note:
            listener.note(self.means.note)

    @property
    def at(self) -> Position:
        """Where the training is."""
        return self.state.at

    def run(self) -> Position:
        """All stages, from the checkpoint where there is one."""
        self.network.prepare(0)
        self._note_small_batches()
        try:
            if not self.state.restore():
                self.evaluate_start()
                self.state.save()
            for entry in self.at.history:  # so that the listener sees the whole run
                self.listener.event(EpochEvent(entry, earlier=True))
            while self.at.stage < len(self.job.stages):
                try:
                    self.run_stage()
                except Diverged as diverged:
                    self.back_off(diverged.what)
            return self.state.finish()
        except RuntimeError as error:
            if self.stop.asked:  # the interrupt reached the workers too
                raise KeyboardInterrupt from error
            if self.settings.deterministic and "deterministic" in str(error):
                raise BadInput(
                    f"train.deterministic: {str(error).splitlines()[0][:150]} Leave it out, or use another model."
                ) from None
            raise

    def run_stage(self) -> None:
        """From where `self.at` says to the end of its stage."""
        at, stage = self.at, self.job.stages[self.at.stage]
        self.network.prepare(at.stage)
        keys = batches.BatchPlan(
            self.job.labels,
            self.seed,
            range(at.epoch, self.ends[at.stage]),
            self.settings.batch_size,
            self.settings.balance,
            (distributed.rank(), distributed.count()),
            skip=at.step,
        )
        loader = feed.make_batches(self.job, keys, self.means)
        pending: torch.Tensor | None = None
        clock, images = perf_counter(), 0
        for keys_of_batch, pixels in zip(keys, loader, strict=True):
            self.last = keys_of_batch
            loss = self._step(pixels, [i for _, i in keys_of_batch], stage)
            # A GPU is a step ahead of Python; asking for this step's loss would make it wait.
            self._check(pending)
            pending = loss
            at.step += 1
            images += self.settings.batch_size
            if at.step == self.steps or self.network.device.type == "cpu" or distributed.many():
                self._check(pending)
                pending = None
            speed = images / (perf_counter() - clock)
            if at.step < self.steps:
                if self.stop.asked or self.state.is_due():
                    self._check(pending)
                    pending = None
                    self.state.save()
                self.stop.check()
                self._report_step(stage, speed)
                continue
            ended = perf_counter()
            self._end_epoch(stage, speed)
            self.epoch_end_s = perf_counter() - ended
            clock += self.epoch_end_s  # no training image went through
            last = at.stage == len(self.job.stages) - 1
            left = at.epoch < self.ends[at.stage]
            if left and last and self.patience and at.since_best >= self.patience:
                self.listener.note(
                    f"stopped early: neither validation accuracy nor loss got better for {at.since_best} epochs"
                )
                at.stage = len(self.job.stages)
                break
            if left:
                self.stop.check()
        else:
            at.stage += 1
            at.since_best, at.least_loss, at.most_accurate = 0, None, None
            if at.stage < len(self.job.stages):  # the next stage's optimizer is what it goes on with
                self.network.prepare(at.stage)
        self.state.save()
        self.stop.check()

    def _step(self, pixels: torch.Tensor, images: list[int], stage: strategy.Stage) -> torch.Tensor:
        """One optimizer step over the whole batch, in as many pieces as memory asks for; returns the mean loss."""
        at = self.at
        while True:
            try:
                at_once = max(at.micro_batch // distributed.count(), 1)
                settle_precision(self.network, at, pixels, images, at_once, self.listener)
                torch.manual_seed(derive_seed(self.seed, "step", at.epoch, at.step, distributed.rank()))
                total = self.network.gradients(pixels, images, at_once)
                break
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
                self._halve(error)
        steps_done = at.step + self.steps * (at.epoch - self._first_epoch())
        done = steps_done / (self.steps * stage.epochs)
        norm = self.network.step(
            at.rate * strategy.factor(self.settings.schedule, self.settings.warmup, done)
        )
        return total if norm is None else torch.where(torch.isfinite(norm), total, torch.nan)

    def _end_epoch(self, stage: strategy.Stage, speed: float) -> None:
        at, size = self.at, self.job.sizes[self.at.epoch]
        self.network.share_statistics()
        # What the last step broke is neither evaluated nor kept.
        for broken in distributed.gathered(self.network.broken(self.network.state())):
            if broken:
                raise Diverged(f"{broken} was")
        logits = self.network.logits(self.stop.check)
        if not torch.isfinite(logits).all():
            raise Diverged("the answers on the validation images were")
        expected = torch.from_numpy(self.job.val_labels)
        accuracy = float((logits.argmax(1) == expected).double().mean())
        loss = float(cross_entropy(logits, expected))
        entry = EpochRecord(
            stage=stage.name,
            epoch=at.epoch + 1,
            epochs=self.ends[-1],
            train_loss=at.loss_sum / self.steps,
            val_loss=loss,
            val_accuracy=accuracy,
            lr=self.network.lr,
            image_size=size,
            images_per_s=speed,
            seconds=self.state.seconds(),
            best=at.best is None or accuracy > at.best,
        )
        at.end_epoch(entry)
        if entry.best:
            self.state.keep_best()
        self.listener.event(EpochEvent(entry))
        if at.epoch < self.ends[at.stage]:
            self.state.save()

    def _check(self, pending: torch.Tensor | None) -> None:
        if pending is None:
            return
        value = self.network.mean(pending)
        if not math.isfinite(value):
            raise Diverged("the loss was")
        self.at.loss_sum += value

    def back_off(self, what: str) -> None:
        """After a loss or a weight that is no number: the last state, which is finite, once, at half the rate."""
        if self.at.rate < 1:
            raise given_up(what, [self.job.names[i] for _, i in self.last])
        epoch, step = self.at.epoch + 1, self.at.step
        self.state.restore()
        self.at.rate = 0.5
        self.state.save()
        self.listener.note(
            f"{what} not a number in epoch {epoch} after step {step}: back to the last checkpoint, "
            "at half the learning rate"
        )

    def _halve(self, error: RuntimeError) -> None:
        self.network.forget_gradients()
        self.at.micro_batch = smaller(self.at.micro_batch, error)
        self.listener.note(
            f"out of memory: {self.at.micro_batch} images at once from now on, "
            f"still {self.settings.batch_size} a step (gradients are accumulated)"
        )

    def evaluate_start(self) -> None:
        """A solved head is the first candidate for the best epoch: fine-tuning must beat it to be kept."""
        began, n, seen = perf_counter(), len(self.job.val_labels), 0

        def between() -> None:  # batches of validation images: on a large set the first sign of life
            nonlocal seen
            self.stop.check()
            self.listener.progress("validating", min(seen, n - 1), n)
            seen += inference.AT_ONCE * distributed.count()

        logits = self.network.logits(between)
        self.listener.progress("validating", n, n)
        self.epoch_end_s = perf_counter() - began
        expected = torch.from_numpy(self.job.val_labels)
        self.at.best = self.at.start = float((logits.argmax(1) == expected).double().mean())
        self.state.keep_best()

    def _first_epoch(self) -> int:
        return int(self.ends[self.at.stage] - self.job.stages[self.at.stage].epochs)

    def at_once(self) -> int:
        """Images that one process puts through the model at once."""
        return max(min(self.at.micro_batch, len(self.job.labels)) // distributed.count(), 1)

    def _note_small_batches(self) -> None:
        if self.at_once() == 1 and batch_norm.trained(self.network.model):
            self.listener.note(
                "BatchNorm estimates its statistics from one image at a time, and takes the weights' own where "
                "an image has one position left. --set train.batch_norm=frozen keeps them everywhere."
            )

    def _report_step(self, stage: strategy.Stage, speed: float) -> None:
        at = self.at
        left = self.steps * (self.ends[-1] - at.epoch) - at.step
        validating_s = (self.ends[-1] - at.epoch) * self.epoch_end_s
        self.listener.event(
            StepEvent(
                stage=stage.name,
                epoch=at.epoch + 1,
                epochs=self.ends[-1],
                step=at.step,
                steps=self.steps,
                loss=at.loss_sum / max(at.step, 1),
                lr=self.network.lr,
                images_per_s=speed,
                remaining_s=left * self.settings.batch_size / speed + validating_s,
            )
        )
