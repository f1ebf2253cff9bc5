"""What is trained, where it is and one step of it: model, average, optimizer. Chooses neither when nor on what.

Alone, or as one of several processes that Hugging Face Accelerate joins.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import nn

from edge_tl.device.errors import BadInput
from edge_tl.host import accelerator
from edge_tl.host.images import augment, batches
from edge_tl.host.models.five_crop import with_crops
from edge_tl.host.training import batch_norm, distributed, inference, resume, strategy
from edge_tl.host.training.ema import averaged
from edge_tl.host.training.job import TrainingJob
from edge_tl.host.training.loss import per_image


class Network:
    """`job.model` on the device, in place. `decay` is the average's; there is none where it is not positive."""

    def __init__(self, job: TrainingJob, decay: float) -> None:
        settings = job.recipe.train
        self.job, self.settings = job, settings
        self.joined = Accelerator(cpu=accelerator.device().type == "cpu")
        self.device = self.joined.device
        self.bf16 = False  # until the precision is settled, before the first step
        self.fused = accelerator.has_fused_optimizers(self.device)
        torch.set_num_threads(distributed.threads())
        accelerator.reproduce(self.device, settings.deterministic)
        self.model = job.model.to(self.device).to(memory_format=torch.channels_last)
        if broken := resume.not_finite(dict(self.model.named_parameters())):
            raise BadInput(
                f"the weights to start from hold numbers that are not finite ({broken}). Use others."
            )
        self.average = averaged(self.model, decay) if decay > 0 else None
        # A mask may be infinite for good.
        self._constant = {
            name for name, buffer in self.model.named_buffers() if resume.not_finite({name: buffer})
        }
        self.mix = augment.batch_transform(job.recipe.augment, job.classes)
        self.class_weights = None
        if settings.balance == "weights":
            self.class_weights = batches.class_weights(job.labels, job.classes).to(self.device)
        self._stage = -1
        self._jointly = False

    @contextmanager
    def statistics(self, at_once: int) -> Iterator[None]:
        """BatchNorm that can do with `at_once` images in each process: one of all processes where that is few, on GPUs,
        and one that lets a single value through."""
        jointly = distributed.many() and self.device.type in ("cuda", "xpu") and at_once < batch_norm.FEW
        self._jointly = jointly
        take_back = batch_norm.let_single_values_through(self.model)
        try:
            with batch_norm.synchronized(self.model, jointly):
                yield
        finally:
            take_back()

    def prepare(self, number: int) -> None:
        """Make ready to train the stage of that number: its parameters, its modes and, once, its optimizer."""
        stage = self.job.stages[number]
        if self._stage != number:
            strategy.freeze_blocks(self.model, self.job.blocks, stage.first)
            plain = strategy.optimizer(self.model, self.job.blocks, stage, self.settings, fused=self.fused)
            network = torch.compile(self.model) if self.settings.compile else self.model
            self.trained, self.optimizer = self.joined.prepare(network, plain)
            self._stage = number
        strategy.train_mode(self.model, self.job.blocks, stage.first, self.job.batch_norm)

    def gradients(self, pixels: torch.Tensor, images: list[int], at_once: int) -> torch.Tensor:
        """Add the gradients of a whole batch, uint8 `(n, 3, h, w)` of the training `images`, in pieces of at most
        `at_once`, one more where another process has no more pieces; returns the mean loss, a scalar on the
        device."""
        inputs = augment.model_inputs(pixels, self.job.contract.mean, self.job.contract.std, self.device)
        expected = torch.from_numpy(self.job.labels[images]).to(self.device)
        if self.mix is not None:
            inputs, expected = self.mix(inputs, expected)
        total = torch.zeros((), device=self.device)
        # Even pieces: BatchNorm cannot estimate statistics from one image that is left over.
        shares = distributed.gathered(len(inputs)) if self._jointly else [len(inputs)]
        pieces = batch_norm.pieces(shares, at_once)
        parts = zip(inputs.tensor_split(pieces), expected.tensor_split(pieces), strict=True)
        for number, (piece, answers) in enumerate(parts, 1):
            with contextlib.nullcontext() if number == pieces else self.joined.no_sync(self.trained):
                part = self.loss(piece, answers).sum() / len(inputs)
                self.joined.backward(part)
            total += part.detach()
        return total

    def loss(self, inputs: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """float32 `(n,)` on normalized `(n, 3, h, w)`."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            answer = self.trained(inputs)
        return per_image(answer, expected, self.class_weights, self.settings.label_smoothing)

    def step(self, scale: float) -> torch.Tensor | None:
        """Move the weights, at `scale` of every group's peak rate; returns the gradients' norm where it was clipped."""
        norm = None
        if self.settings.clip_norm:
            norm = self.joined.clip_grad_norm_(self.model.parameters(), self.settings.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * scale
        if self.fused:
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    parameter.grad = resume.laid_out_as(parameter.grad, parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.average is not None:
            self.average.update_parameters(self.model)
        return norm

    @property
    def lr(self) -> float:
        """The head's present rate."""
        return float(self.optimizer.param_groups[-1]["lr"])

    def forget_gradients(self) -> None:
        """Of a batch that was given up, and what the allocator keeps of it."""
        self.optimizer.zero_grad()
        accelerator.free_cached(self.device)

    def mean(self, loss: torch.Tensor) -> float:
        """Over all processes; waits for the device."""
        return float(self.joined.reduce(loss, "mean") if distributed.many() else loss)

    def weights_to_keep(self) -> nn.Module:
        """The average, once there is one; else the model."""
        return self.model if self.average is None or not int(self.average.n_averaged) else self.average.module

    def logits(self, between: Callable[[], None]) -> torch.Tensor:
        """float32 `(n, classes)` of what would be kept, over the validation images."""
        kept = with_crops(self.weights_to_keep(), self.job.val_contract)
        return inference.logits(kept, self.job.val, self.job.contract, self.device, between=between)

    def share_statistics(self) -> None:
        """Take the main process's BatchNorm statistics: they are what is written, so they are what is evaluated."""
        for model in (self.model, self.average):
            if model is not None:
                distributed.share(model.buffers())

    def state(self) -> resume.Tensors:
        """Every tensor that the next step depends on."""
        return resume.pack(self.model, self.average, self.optimizer)

    def broken(self, tensors: resume.Tensors) -> str | None:
        """The name of a tensor of `state` that has become NaN or infinite, or None."""
        endings = tuple(f".{name}" for name in self._constant)
        return resume.not_finite({key: value for key, value in tensors.items() if not key.endswith(endings)})

    def load(self, tensors: resume.Tensors) -> None:
        """What `state` gave, in place."""
        resume.unpack(tensors, self.model, self.average, self.optimizer)

    def end(self, weights: resume.Tensors) -> None:
        """Leave `weights` in the model, on the CPU, as its owner gave it."""
        self.model.load_state_dict(weights)
        self.model.to("cpu").to(memory_format=torch.contiguous_format).eval().requires_grad_(True)
