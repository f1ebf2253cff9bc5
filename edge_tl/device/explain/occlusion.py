"""Heat maps of a model that has no last pooling, a transformer for instance: what covering a part of the image takes
from the score (Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014). Needs nothing but the
model's own answers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.runtimes.base import Runtime

CELLS = 8
"""Rows and columns of the map. Each of the 49 parts that are covered, one after the other, has two of each."""


def occlusion(runtime: Runtime, image: NDArray[np.float32], label: int) -> NDArray[np.float32]:
    """Float32 `(CELLS, CELLS)`: by how much the logit of class `label` falls where a cell is covered with the mean
    colour, the mean over the parts that hold it. `image` is the model's input, float32 `(1, 3, H, W)`."""
    high, wide = image.shape[2:]
    rows, columns = (np.linspace(0, side, CELLS + 1).round().astype(int) for side in (high, wide))
    whole = float(runtime(image)[0, label])
    fall, seen = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for y in range(CELLS - 1):
        for x in range(CELLS - 1):
            covered = image.copy()
            covered[:, :, rows[y] : rows[y + 2], columns[x] : columns[x + 2]] = 0
            part = np.s_[y : y + 2, x : x + 2]
            fall[part] += whole - float(runtime(covered)[0, label])
            seen[part] += 1
    return (fall / seen).astype(np.float32)
