"""A head with hidden layers: it learns what a line cannot, its scaling is folded in, the best epoch is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from listening import Listening
from sklearn.metrics import log_loss
from torch import nn

from edge_tl.device.listener import SILENT
from edge_tl.device.metrics import softmax
from edge_tl.host.recipe.schema import Head
from edge_tl.host.runs.record import TriedHead
from edge_tl.host.training.linear_head import HeadData
from edge_tl.host.training.mlp_head import train_mlp_head


def rings(n: int, seed: int) -> tuple[Any, Any]:
    """Two rings in the first two features, whose scales and offsets differ a lot; one feature never moves."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n, dtype=np.int64) % 2
    angle, radius = rng.uniform(0, 2 * np.pi, n), 1 + 1.5 * labels + 0.1 * rng.normal(size=n)
    features = np.stack(
        [900 + 50 * radius * np.cos(angle), 0.01 * radius * np.sin(angle), np.full(n, 7.0)], axis=1
    )
    return features.astype(np.float32), labels


def fit(**changes: Any) -> tuple[nn.Sequential, tuple[TriedHead, ...]]:
    features, labels = rings(400, 0)
    val, val_labels = rings(100, 1)
    listener, seed = changes.pop("listener", SILENT), changes.pop("seed", 0)
    settings = Head.model_validate({"hidden": [64], "dropout": 0.1, "epochs": 100} | changes)
    return train_mlp_head(
        HeadData(features, labels, val, val_labels, 2), settings, seed=seed, listener=listener
    )


def test_it_learns_what_no_linear_head_can():
    head, history = fit()
    val, labels = rings(200, 2)
    with torch.no_grad():
        assert (head(torch.from_numpy(val)).argmax(1).numpy() == labels).mean() > 0.97
    assert [type(layer) for layer in head] == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert not head.training
    assert [entry.epoch for entry in history] == list(range(1, 101))


@pytest.mark.parametrize("seed", range(4))
def test_the_head_on_raw_features_has_the_figures_of_the_best_epoch(seed: int):
    head, history = fit(seed=seed, epochs=8, hidden=[8, 4])
    val, labels = rings(100, 1)
    with torch.no_grad():
        logits = head(torch.from_numpy(val)).numpy()
    best = max(history, key=lambda entry: (entry.accuracy, -entry.log_loss))
    assert (logits.argmax(1) == labels).mean() == pytest.approx(best.accuracy, abs=0.011)
    assert log_loss(labels, softmax(logits)) == pytest.approx(best.log_loss, abs=2e-3)


def test_the_seed_decides_and_nothing_before_it():
    torch.manual_seed(1)
    a, _ = fit(epochs=2)
    torch.manual_seed(2)
    b, _ = fit(epochs=2)
    c, _ = fit(epochs=2, seed=1)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not torch.equal(a[0].weight, c[0].weight)  # type: ignore[arg-type]


def test_class_weights_move_the_answers():
    """On pure noise nothing can be learned but how often a class is worth saying."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(300, 4)).astype(np.float32), rng.integers(0, 2, 300)
    shares = []
    for favoured, weights in enumerate([[8.0, 1.0], [1.0, 8.0]]):
        wanted = np.full(300, favoured)  # the epoch that says it most often is kept
        data = HeadData(features, labels, features, wanted, 2, torch.tensor(weights))
        head, _ = train_mlp_head(data, Head(hidden=[4], dropout=0.0, epochs=60), seed=0)
        with torch.no_grad():
            shares.append(float(head(torch.from_numpy(features)).softmax(1)[:, 0].mean()))
    assert shares[0] > shares[1] + 0.15


def test_progress_counts_epochs():
    calls: list[tuple[str, int, int]] = []
    fit(epochs=3, listener=Listening(progress=lambda *call: calls.append(call)))
    assert calls == [("head", 1, 3), ("head", 2, 3), ("head", 3, 3)]
