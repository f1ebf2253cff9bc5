"""A classifier of 1,400 weights, small enough to be stored with the tests.

edge-tl import small_cnn.safetensors --factory small_cnn:small_cnn --data shapes
"""

from __future__ import annotations

from torch import nn


def small_cnn() -> nn.Module:
    """Three classes, any input of at least 8 by 8 pixels."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.Hardswish(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
