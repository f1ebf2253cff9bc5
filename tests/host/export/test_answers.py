"""Every answer of an evaluation as a record, and what a record of somebody else's may not hold."""

from __future__ import annotations

import numpy as np
import pytest

from edge_tl.device.errors import BundleError
from edge_tl.device.records.answers import MOST_ANSWERS, AnswersRecord
from edge_tl.host.export.answers import answers_record
from edge_tl.host.images.dataset import Sample


def test_each_image_has_its_answers_by_its_hash() -> None:
    samples = [Sample("a.png", 1, "ab" * 32), Sample("b.png", 0, "cd" * 32)]
    found = answers_record(
        samples,
        {
            "pytorch": np.array([[0, 1], [2, 1]], np.float32),
            "onnx-int8": np.array([[3, 1], [2, 1]], np.float32),
        },
    )
    assert found == AnswersRecord(("ab" * 8, "cd" * 8), (1, 0), (1, 0), {"onnx-int8": (0, 0)})
    assert AnswersRecord.from_json(found.to_json()) == found


def test_more_images_than_a_report_lists_have_none() -> None:
    samples = [Sample("a.png", 0, "ab" * 32)] * (MOST_ANSWERS + 1)
    assert answers_record(samples, {"pytorch": np.zeros((len(samples), 2), np.float32)}) is None


def test_a_list_that_lacks_an_answer_is_refused() -> None:
    record = AnswersRecord(("ab" * 8,), (1,), (1,), {"onnx-int8": (0,)}).to_json()
    record["artifacts"]["onnx-int8"] = []
    with pytest.raises(BundleError, match="onnx-int8"):
        AnswersRecord.from_json(record)
