"""Where a training is, in memory and in files of its run's folder: saved, restored, finished. Trains nothing."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from time import perf_counter

import torch

from edge_tl.device.errors import BadInput
from edge_tl.device.listener import Listener
from edge_tl.host.runs import checkpoint
from edge_tl.host.runs.record import EpochRecord, PrecisionRecord
from edge_tl.host.training import distributed, resume
from edge_tl.host.training.job import Position, TrainingJob
from edge_tl.host.training.network import Network
from edge_tl.host.training.recovery import Diverged


class TrainingState:
    """The position `at` and the tensors of `network`, kept in `folder`; `key` is a digest of everything that the result
    depends on."""

    def __init__(
        self, at: Position, job: TrainingJob, network: Network, folder: Path, key: str, listener: Listener
    ) -> None:
        self.at, self.job, self.network = at, job, network
        self.folder, self.key, self.listener = folder, key, listener
        self.started = self.saved = perf_counter()

    def seconds(self) -> float:
        """Since the training began, what earlier processes took included."""
        return self.at.seconds + perf_counter() - self.started

    def is_due(self) -> bool:
        """Whether the last checkpoint is as old as the recipe allows."""
        return perf_counter() - self.saved > self.job.recipe.train.checkpoint_seconds

    def save(self) -> None:
        """Write the checkpoint; every process is at the same step, so one writes for all. What is not finite is never
        written: it could not be gone on from."""
        if distributed.is_main():
            self.at.seconds = self.seconds()
            tensors = self.network.state()
            if broken := self.network.broken(tensors):
                if not distributed.many():
                    raise Diverged(f"{broken} was")
                return  # the next step's loss tells all of them
            facts = {"key": self.key, "at": asdict(self.at), "threads": torch.get_num_threads()}
            resume.write_tensors(self.folder / checkpoint.STATE, tensors, facts)
            resume.forget_previous(self.folder)
        self.started = self.saved = perf_counter()

    def restore(self) -> bool:
        """Go to the checkpoint, if there is one."""
        distributed.wait()
        path = self.folder / checkpoint.STATE
        if not path.is_file():
            return False
        tensors, facts = resume.read_tensors(path)
        if facts["key"] != self.key:
            raise BadInput(
                f"{self.folder}: holds the unfinished training of another recipe, data set or version. "
                "Resume with what it was started with, or remove the folder."
            )
        history = [EpochRecord(**entry) for entry in facts["at"]["history"]]
        precision = facts["at"].get("precision")
        precision = PrecisionRecord(**precision) if precision else None
        self.at = Position(**(facts["at"] | {"history": history, "precision": precision}))
        if distributed.is_main():
            resume.settle_best(self.folder, self.at.best_sha256)
        distributed.wait()
        asked = self.job.recipe.train.micro_batch
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

    def finish(self) -> Position:
        """Keep the last weights beside the best, and load the best."""
        if distributed.is_main():
            resume.write_tensors(
                self.folder / resume.LAST,
                self.network.weights_to_keep().state_dict(),
                {"epoch": self.at.epoch},
            )
            resume.settle_best(self.folder, self.at.best_sha256)
        distributed.wait()
        best, _ = resume.read_tensors(self.folder / resume.BEST)
        self.network.end(best)
        return self.at

    def keep_best(self) -> None:
        """Write the present weights as the best."""
        if distributed.is_main():
            weights, facts = self.network.weights_to_keep().state_dict(), {"epoch": self.at.epoch}
            self.at.best_sha256 = resume.keep_best(self.folder, weights, facts)
