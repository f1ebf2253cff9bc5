"""Calls at the same time give the answers of one call after the other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edge_tl.device.bundle import read_bundle
from edge_tl.device.runtimes.null import NullRuntime
from edge_tl.device.runtimes.open import open_runtime
from edge_tl.device.runtimes.parallel import open_parallel


@pytest.mark.parametrize(("count", "streams"), [(1, False), (3, False), (9, False), (3, True)])
@pytest.mark.parametrize("artifact", ["onnx-fp32", "onnx-int8", "openvino-fp32", "openvino-int8"])
def test_threads_get_each_its_own_answer(bundle_root: Path, artifact: str, count: int, streams: bool) -> None:
    bundle = read_bundle(bundle_root)
    path = bundle.artifact(artifact).path
    runtime = open_runtime(path)
    run = open_parallel(path, runtime, count, streams=streams)
    assert run is not None
    inputs = [each[None] for each in bundle.golden_pixels()] * 8
    expected = [runtime(each) for each in inputs]
    with ThreadPoolExecutor(5) as pool:  # more than there are calls: some wait
        got = list(pool.map(run, inputs))
    for one, other in zip(got, expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_call_that_fails_gives_its_place_back(bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    path = bundle.artifact("onnx-fp32").path
    run = open_parallel(path, open_runtime(path), 1)
    assert run is not None
    for _ in range(3):
        with pytest.raises(Exception, match="model input"):
            run(np.zeros((1, 3, 5, 5), np.float32))
    assert run(bundle.golden_pixels()[:1]).shape == (1, 3)


def test_another_device_than_the_cpu_gets_batches(bundle_root: Path) -> None:
    path = read_bundle(bundle_root).artifact("onnx-fp32").path
    assert open_parallel(path, NullRuntime(3), 2) is None
