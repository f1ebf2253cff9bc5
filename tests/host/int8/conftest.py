"""The shared run's images as model inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from edge_tl.host.export import image_sets
from edge_tl.host.images.dataset import Dataset
from edge_tl.host.runs import checkpoint


@pytest.fixture(scope="session")
def dataset(run: Path) -> Dataset:
    return checkpoint.read_run(run).dataset()


@pytest.fixture(scope="session")
def calibration(run: Path, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Twelve of the run's training images."""
    contract = checkpoint.read_run(run).preprocess
    chosen = image_sets.calibration_set(dataset, 12, 0)
    return image_sets.inputs(contract, dataset, chosen, tmp_path_factory.mktemp("calibration") / "x.npy")


@pytest.fixture(scope="session")
def literally() -> Callable[..., Any]:
    """`literally(path, inputs, names=None)`: the logits, or the values named, by the file's arithmetic as written: no
    fusion, so no INT8 kernel of this machine takes part."""

    def values(path: Path, inputs: Any, names: list[str] | None = None) -> Any:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found = session.run(names, {session.get_inputs()[0].name: np.asarray(inputs)})
        return found if names else found[0]

    return values
