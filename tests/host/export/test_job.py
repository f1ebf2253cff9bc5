"""What an export remembers while it works."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from edge_tl.host.export.job import ExportJob
from edge_tl.host.images.dataset import Sample


def samples(*digests: str) -> list[Sample]:
    return [Sample(f"a/{digest}.png", 0, digest) for digest in digests]


def job() -> ExportJob:
    nothing = cast(Any, None)
    given = ("reference", "saved", "dataset", "contract", "recipe", "staging", "isolated", "inputs")
    return ExportJob(**dict.fromkeys(given, nothing), sets={})


def test_kept_logits_come_back_by_image_in_the_order_that_is_asked_for():
    one = job()
    one.keep_logits("onnx-fp32", samples("x", "y", "z"), np.arange(6, dtype=np.float32).reshape(3, 2))
    kept = one.kept_logits("onnx-fp32", samples("z", "x"))
    np.testing.assert_array_equal(kept, [[4, 5], [0, 1]])


def test_logits_of_other_images_artifacts_or_files_are_never_taken():
    one = job()
    one.keep_logits("onnx-fp32", samples("x", "y"), np.zeros((2, 2), np.float32))
    assert one.kept_logits("onnx-fp32", samples("x", "new")) is None  # one is missing: all are computed
    assert one.kept_logits("openvino-fp32", samples("x")) is None
    assert one.kept_logits("onnx-fp32", []) is None
    one.forget_logits()  # the files change
    assert one.kept_logits("onnx-fp32", samples("x")) is None
