"""Which combinations of model, strategy and learning rate a comparison is of. Knows no study and no run."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass

from edge_tl.device.names import cleaned

HEAD = "head"


@dataclass(frozen=True)
class Combination:
    """What one trial fine-tunes; `lr` is None for the strategy's own, and always for a head, which has none."""

    model: str
    strategy: str
    lr: float | None = None

    @property
    def name(self) -> str:
        """Unique in its grid, and a folder's name."""
        rate = "" if self.lr is None else f"-lr{self.lr}"
        return cleaned(re.sub(r"[^\w.-]+", "-", f"{self.model}-{self.strategy}{rate}"))


@dataclass(frozen=True)
class Grid:
    """Every combination of these; `lrs` is empty for the strategies' own learning rates."""

    models: tuple[str, ...]
    strategies: tuple[str, ...]
    lrs: tuple[float, ...] = ()

    def combinations(self) -> list[Combination]:
        """Model by model, so that the features of one are computed once; a head is one trial, whatever the rates."""
        return [
            Combination(model, strategy, lr)
            for model in self.models
            for strategy in self.strategies
            for lr in ((None,) if strategy == HEAD or not self.lrs else self.lrs)
        ]

    def key(self) -> str:
        """A short digest: the same grid, the same study."""
        facts = json.dumps([self.models, self.strategies, self.lrs])
        return hashlib.sha256(facts.encode()).hexdigest()[:8]
