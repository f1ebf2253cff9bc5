"""The loop: stages, epochs, steps, in the order things happen; it must not choose a strategy or read a recipe's data.

Everything random is drawn from (seed, epoch,
step or image), so the state of a training is its tensors and a few counters: a run killed at any moment and resumed
ends in the same bytes.
"""

from __future__ import annotations

import math
from dataclasses import asdict
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
from edge_tl.host.training import batch_norm, distributed, feed, inference, resume, stopping, strategy
from edge_tl.host.training.ema import reach
from edge_tl.host.training.job import Job, Position
from edge_tl.host.training.network import Network
from edge_tl.host.training.recovery import Diverged, given_up, smaller

# Accuracy on a small set moves in steps; a loss that is this much lower shows that there is still something to gain.
_NOTICEABLE = 0.005


def fit(
    job: Job,
    folder: Path,
    *,
    key: str,
    listener: Listener = SILENT,
) -> Position:
    """Train `job.model` in place and leave in it the weights of the epoch with the best validation accuracy.

    The state is kept in `folder` and gone on from when it is there and belongs to `key`, a digest of everything
    that the result depends on. Raises `BadInput` when a state of something else is there or one image does not fit
    into memory, `EdgeTLError` when the loss is not a number even at half the rate, `OSError` when the disk is full;
    the last checkpoint is then still whole. An interrupt ends it after a step, with the state of that step kept; in
    the last step of an epoch, or while that is judged, with the last checkpoint's.
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
        self,
        job: Job,
        folder: Path,
        key: str,
        listener: Listener,
        stop: stopping.Stop,
    ) -> None:
        settings = job.recipe.train
        self.stop = stop
        self.epoch_end_s = 0.0
        """Seconds that the end of an epoch takes: validation, above all."""
        self.job, self.folder, self.key, self.listener = job, folder, key, listener
        self.settings, self.seed = settings, job.recipe.seed
        self.patience = strategy.patience(settings.patience, job.stages[-1].epochs)
        self.steps = batches.steps_per_epoch(len(job.labels), settings.batch_size)
        self.ends = np.cumsum([stage.epochs for stage in job.stages]).tolist()
        self.network = Network(job, reach(settings.ema, self.steps * self.ends[-1]))
        self.at = Position(
            steps=self.steps,
            micro_batch=settings.micro_batch or settings.batch_size,
            micro_batch_asked=settings.micro_batch or 0,
        )
        self.started = self.saved = perf_counter()
        self.last: list[batches.SampleKey] = []
        self.means = feed.settle(job, self.network.device)
        if self.means.note:
            listener.note(self.means.note)

    def run(self) -> Position:
        """All stages, from the checkpoint where there is one."""
        self.network.prepare(0)
        self._tell_small_batches()
        try:
            if not self.restore():
                self.judge_start()
                self.save()
            for entry in self.at.history:  # so that whoever watches sees the whole run
                self.listener.event(EpochEvent(entry, earlier=True))
            while self.at.stage < len(self.job.stages):
                try:
                    self.run_stage()
                except Diverged as diverged:
                    self.back_off(diverged.what)
            return self.finish()
        except RuntimeError as error:
            if self.stop.asked:  # a worker that was told too
                raise KeyboardInterrupt from error
            if self.settings.deterministic and "deterministic" in str(error):
                raise BadInput(
                    f"train.deterministic: {str(error).splitlines()[0][:150]} Leave it out, or use another model."
                ) from None
            raise

    # -- one stage --------------------------------------------------------------------------------------------

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
        loader = feed.made(self.job, keys, self.means)
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
                if self.stop.asked or perf_counter() - self.saved > self.settings.checkpoint_seconds:
                    self._check(pending)
                    pending = None
                    self.save()
                self.stop.check()
                self._tell_step(stage, speed)
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
            at.since_best = 0
            if at.stage < len(self.job.stages):  # the next stage's optimizer is what it goes on with
                self.network.prepare(at.stage)
        self.save()
        self.stop.check()

    def _step(self, pixels: torch.Tensor, images: list[int], stage: strategy.Stage) -> torch.Tensor:
        """One optimizer step over the whole batch, in as many pieces as memory asks for; returns the mean loss."""
        at = self.at
        while True:
            try:
                torch.manual_seed(derive_seed(self.seed, "step", at.epoch, at.step, distributed.rank()))
                total = self.network.gradients(pixels, images, max(at.micro_batch // distributed.count(), 1))
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
        # What the last step broke is neither judged nor kept.
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
            seconds=self._seconds(),
            best=accuracy > at.best,
        )
        at.history.append(entry)
        lower = loss < at.least_loss * (1 - _NOTICEABLE)
        at.least_loss = loss if lower else at.least_loss
        at.since_best = 0 if entry.best or lower else at.since_best + 1
        at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0
        if entry.best:
            at.best, at.best_epoch = accuracy, at.epoch
            self._keep_best()
        self.listener.event(EpochEvent(entry))
        if at.epoch < self.ends[at.stage]:
            self.save()

    # -- what can go wrong ------------------------------------------------------------------------------------

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
        self.restore()
        self.at.rate = 0.5
        self.save()
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

    # -- state ------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint; every process is at the same step, so one writes for all. What is not finite is never
        written: it could not be gone on from."""
        if distributed.is_main():
            self.at.seconds = self._seconds()
            tensors = self.network.state()
            if broken := self.network.broken(tensors):
                if not distributed.many():
                    raise Diverged(f"{broken} was")
                return  # the next step's loss tells all of them
            facts = {"key": self.key, "at": asdict(self.at), "threads": torch.get_num_threads()}
            resume.write_tensors(self.folder / resume.STATE, tensors, facts)
            resume.forget_previous(self.folder)
        self.started = self.saved = perf_counter()

    def restore(self) -> bool:
        """Go to the checkpoint, if there is one."""
        distributed.wait()
        path = self.folder / resume.STATE
        if not path.is_file():
            return False
        tensors, facts = resume.read_tensors(path)
        if facts["key"] != self.key:
            raise BadInput(
                f"{self.folder}: holds the unfinished training of another recipe, data set or version. "
                "Resume with what it was started with, or remove the folder."
            )
        history = [EpochRecord(**entry) for entry in facts["at"]["history"]]
        self.at = Position(**(facts["at"] | {"history": history}))
        if distributed.is_main():
            resume.settle_best(self.folder, self.at.best_sha256)
        distributed.wait()
        asked = self.settings.micro_batch
        if asked and asked != self.at.micro_batch_asked:
            self.at.micro_batch = self.at.micro_batch_asked = asked
            self.listener.note(f"{asked} images at once from here on")
        if self.network.device.type == "cpu" and facts["threads"] != torch.get_num_threads():
            # Sums are split among the threads, and floating-point sums depend on the order.
            self.listener.note(
                f"trained with {facts['threads']} threads so far, with {torch.get_num_threads()} from here on: the "
                "weights will differ in their last digits from those of an uninterrupted run"
            )
        self.network.prepare(min(self.at.stage, len(self.job.stages) - 1))
        self.network.load(tensors)
        self.started = self.saved = perf_counter()
        return True

    def judge_start(self) -> None:
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
        self.at.least_loss = float(cross_entropy(logits, expected))
        self._keep_best()

    def finish(self) -> Position:
        """Keep the last weights beside the best, and load the best."""
        if distributed.is_main():
            resume.write_tensors(
                self.folder / resume.LAST, self.network.judged().state_dict(), {"epoch": self.at.epoch}
            )
            resume.settle_best(self.folder, self.at.best_sha256)
        distributed.wait()
        best, _ = resume.read_tensors(self.folder / resume.BEST)
        self.network.end(best)
        return self.at

    def _keep_best(self) -> None:
        if distributed.is_main():
            weights, facts = self.network.judged().state_dict(), {"epoch": self.at.epoch}
            self.at.best_sha256 = resume.keep_best(self.folder, weights, facts)

    # -- parts ------------------------------------------------------------------------------------------------

    def _first_epoch(self) -> int:
        return int(self.ends[self.at.stage] - self.job.stages[self.at.stage].epochs)

    def at_once(self) -> int:
        """Images that one process puts through the model at once."""
        return max(min(self.at.micro_batch, len(self.job.labels)) // distributed.count(), 1)

    def _tell_small_batches(self) -> None:
        if self.at_once() == 1 and batch_norm.trained(self.network.model):
            self.listener.note(
                "BatchNorm estimates its statistics from one image at a time, and takes the weights' own where "
                "an image has one position left. --set train.batch_norm=frozen keeps them everywhere."
            )

    def _seconds(self) -> float:
        return self.at.seconds + perf_counter() - self.started

    def _tell_step(self, stage: strategy.Stage, speed: float) -> None:
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
