"""What is trained when: from a strategy's name to stages over the model's blocks. Trains nothing.

`head` trains no block; `partial` the last few, or with `train.blocks: 0` the head alone, on augmented images; `full`
everything from a new head; `lp-ft` everything from a solved head (Kumar et al., "Fine-Tuning can Distort Pretrained
Features and Underperform Out-of-Distribution", ICLR 2022); `gradual` the last blocks first, then everything at rates
that decay from the last block to the first (Howard and Ruder, "Universal Language Model Fine-tuning", 2018). Blocks
that are not trained keep weights and BatchNorm statistics bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from edge_tl.device.format import percentage
from edge_tl.host.recipe.schema import Train
from edge_tl.host.runs.record import BatchNormMode

Blocks = Sequence[tuple[nn.Module, ...]]
ParameterGroup = dict[str, list[nn.Parameter] | float]
"""`{params, lr, peak, weight_decay}` of an optimizer."""
# AdamW's rate and lp-ft's epochs were measured on photographs of flowers (benchmarks/strategies.py).
# AdamW's steps do not depend on the scale of the weights, SGD's do, and files of weights differ in it.
_LR = {"sgd": 0.004, "adamw": 5e-4}
FEW = 1000
_WEIGHT_DECAY = {"sgd": 1e-4, "adamw": 0.01}
_EPOCHS = {"partial": 6, "full": 10, "lp-ft": 10, "gradual": 9}
TRAINED = tuple(_EPOCHS)
_LAYER_DECAY = {"partial": 1.0, "full": 1.0, "lp-ft": 1.0, "gradual": 0.85}


@dataclass(frozen=True)
class Stage:
    """`epochs` over the images with the blocks from `first` on trained, at rate `lr * layer_decay ** distance` from
    the last block, and the head at `head_lr`."""

    name: str
    epochs: int
    first: int
    lr: float
    head_lr: float
    layer_decay: float


@dataclass(frozen=True)
class StrategyChoice:
    """A strategy and the sentence why."""

    strategy: str
    reason: str


def choose_strategy(asked: str, *, per_class: int, head_accuracy: float, transferred: bool) -> StrategyChoice:
    """What `auto` becomes, from the median training images per class and the validation accuracy of the solved head.

    Few images cannot move millions of weights without losing what they knew; where frozen features already separate
    the classes there is little to gain; in between everything is fine-tuned from the solved head, and with hundreds of
    images a class from a new one, which on photographs of flowers came out ahead (benchmarks/strategies.py).
    """
    if asked != "auto":
        return StrategyChoice(asked, "asked for")
    seen = (
        f"{per_class} training images a class, the frozen features alone reach {percentage(head_accuracy, 1)}"
    )
    if not transferred:
        return StrategyChoice("full", "the weights are random, so there is nothing to keep frozen")
    if head_accuracy >= 0.99:
        return StrategyChoice("head", f"{seen}: there is little left to gain")
    if per_class < 10:
        return StrategyChoice("head", f"{seen}: too few images to move the backbone")
    if per_class < 40:
        return StrategyChoice("partial", f"{seen}: enough images to move the last blocks, not all")
    if per_class < 200:
        return StrategyChoice("lp-ft", f"{seen}: fine-tuning everything from the solved head gains most")
    return StrategyChoice("full", f"{seen}: enough images to learn head and backbone together")


def batch_norm(asked: Literal["auto", "frozen", "train"], *, images: int, transferred: bool) -> BatchNormMode:
    """What `auto` becomes. Statistics that few images estimate, and random crops shift, are worse than the weights'
    own: validation accuracy falls below that of the solved head (benchmarks/results/small_sets.json)."""
    if asked != "auto":
        return asked
    return "frozen" if transferred and images < FEW else "train"


def patience(asked: int | None, epochs: int) -> int:
    """Epochs without anything better after which a training stops; 0 for never. The rate rises over the first third
    of a training and small sets dip under it: those that came out best had been worse for up to four epochs."""
    return max(4, epochs // 2) if asked is None else asked


def stages(strategy: str, blocks: int, train: Train) -> list[Stage]:
    """The stages of `strategy` on a model of so many `blocks`; none for `head`."""
    if strategy == "head":
        return []
    epochs = train.epochs or _EPOCHS[strategy]
    lr = train.lr or _LR[train.optimizer]
    head_lr = train.head_lr or (2.5 * lr if train.optimizer == "sgd" else lr)
    decay = train.layer_decay if train.layer_decay is not None else _LAYER_DECAY[strategy]
    last = max(blocks - train.blocks, 0)
    name = "last blocks" if train.blocks else "head"
    if strategy == "partial":
        return [Stage(name, epochs, last, lr, head_lr, decay)]
    if strategy == "gradual" and epochs > 1:
        first = max(epochs // 3, 1)
        # The second stage is the gentler one: by then every layer feeds ones that are already adapted.
        return [
            Stage(name, first, last, lr, head_lr, decay),
            Stage("all blocks", epochs - first, 0, lr / 2, head_lr / 2, decay),
        ]
    return [Stage("all blocks", epochs, 0, lr, head_lr, decay)]


def weight_decay(train: Train) -> float:
    """Of weights: what is asked for, else the optimizer's own."""
    return train.weight_decay if train.weight_decay is not None else _WEIGHT_DECAY[train.optimizer]


def freeze_blocks(model: nn.Module, blocks: Blocks, first: int) -> None:
    """Let gradients flow to the head and the blocks from `first` on only."""
    model.requires_grad_(True)
    for block in blocks[:first]:
        for module in block:
            module.requires_grad_(False)


def train_mode(model: nn.Module, blocks: Blocks, first: int, batch_norm: str) -> None:
    """Training mode for what is trained; frozen blocks stay in evaluation mode, so their BatchNorm statistics and
    their dropout stand still. With `batch_norm` "frozen" no statistics move anywhere."""
    model.train()
    for block in blocks[:first]:
        for module in block:
            module.eval()
    if batch_norm == "frozen":
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def optimizer(
    model: nn.Module, blocks: Blocks, stage: Stage, train: Train, *, fused: bool = False
) -> torch.optim.Optimizer:
    """SGD with Nesterov momentum, or AdamW, with a group of parameters per block and per kind.

    Weights of layers decay; see `decays` for what does not.
    """
    decay = weight_decay(train)
    decayed = decays(model)
    groups: list[ParameterGroup] = []
    in_blocks: set[int] = set()
    for i, block in enumerate(blocks):
        parameters = [p for module in block for p in module.parameters()]
        in_blocks |= {id(p) for p in parameters}
        if i >= stage.first:
            lr = stage.lr * stage.layer_decay ** (len(blocks) - 1 - i)
            groups += _groups(parameters, decayed, lr, decay)
    rest = [p for p in model.parameters() if id(p) not in in_blocks]  # the head, and an auxiliary one
    groups += _groups(rest, decayed, stage.head_lr, decay)
    if train.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=stage.lr, fused=fused)
    return torch.optim.SGD(
        groups, lr=stage.lr, momentum=train.momentum, nesterov=train.momentum > 0, fused=fused
    )


def decays(model: nn.Module) -> set[int]:
    """The `id`s of the parameters that weight decay is for: matrices and kernels that a layer multiplies its input by.

    Not biases, normalization, scales of a layer (ConvNeXt's, `(channels, 1, 1)` in torchvision), position
    embeddings, class tokens, tables of relative positions, nor what a timm model names itself.
    """
    exempt: Any = getattr(model, "no_weight_decay", set)()
    found: set[int] = set()
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding) or "Norm" in type(module).__name__:
            continue
        matrix = isinstance(module, (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd))
        for name, parameter in module.named_parameters(path, recurse=False):
            scale = parameter.numel() == max(parameter.shape, default=1) and not matrix
            if parameter.ndim < 2 or scale or not name.endswith("weight"):
                continue
            if not any(word in name for word in exempt):
                found.add(id(parameter))
    return found


def _groups(
    parameters: list[nn.Parameter], decayed: set[int], lr: float, weight_decay: float
) -> list[ParameterGroup]:
    kinds = (
        ([p for p in parameters if id(p) in decayed], weight_decay),
        ([p for p in parameters if id(p) not in decayed], 0.0),
    )
    return [{"params": kind, "lr": lr, "peak": lr, "weight_decay": amount} for kind, amount in kinds if kind]


def factor(schedule: str, warmup: float, done: float) -> float:
    """The learning rate as a fraction of its peak, when a fraction `done` in [0, 1] of the steps is done.

    cosine: linear warm-up, then half a cosine to 0 (Loshchilov and Hutter, 2017). one-cycle: half a cosine up from
    1/25 over three tenths (or `warmup`, if that is longer), half a cosine down to 1/250,000 (Smith and Topin, 2018).
    constant: linear warm-up only.
    """

    def cosine(start: float, end: float, share: float) -> float:
        return end + (start - end) * (1 + math.cos(math.pi * min(max(share, 0.0), 1.0))) / 2

    if schedule == "one-cycle":
        top = max(0.3, warmup)
        if done < top:
            return cosine(1 / 25, 1.0, done / top)
        return cosine(1.0, 1 / 250_000, (done - top) / (1 - top))
    if done < warmup:
        return max(done / warmup, 1e-3)
    return 1.0 if schedule == "constant" else cosine(1.0, 0.0, (done - warmup) / (1 - warmup))
