"""The tiny bundle with artifacts of raw pixels. Making them needs the host's packages; a test is skipped without."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from device.conftest import limits

from edge_tl.device.bundle import GOLDEN_LOGITS, REFERENCE, file_record, read_bundle, write_record
from edge_tl.device.metrics import softmax
from edge_tl.device.raw_pixels import log_probabilities, raw_pixels
from edge_tl.device.records.artifact import LimitsRecord
from edge_tl.device.records.image_input import ImageInputRecord


def add_raw_pixels(root: Path, *, alone: bool = False) -> Path:
    """Give the tiny bundle at `root` an artifact of raw pixels for each of its own; `alone`: in their place."""
    convert = pytest.importorskip("edge_tl.host.convert.image_input")
    bundle = read_bundle(root)
    record, stored, added, answers = bundle.record, bundle.golden_logits(), [], {}
    images = [raw_pixels(bundle.preprocess, path)[0] for path in bundle.golden_images()]
    for each in bundle.artifacts:
        main = each.path.with_name(f"{each.path.stem}-image{each.path.suffix}")
        convert.put_preprocessing_in_front(each.path, main, bundle.preprocess, bundle.labels)
        found = convert.answers_to_images(main, each.path, images)
        own, wanted = (
            log_probabilities(found.probabilities),
            log_probabilities(softmax(stored[each.id])),
        )
        names = [main.name, main.with_suffix(".bin").name] if main.suffix == ".xml" else [main.name]
        apart = np.abs(found.probabilities - softmax(stored[each.id]))
        answers[f"{each.id}-image"] = own
        added.append(
            replace(
                each.record,
                id=f"{each.id}-image",
                input="image",
                files=tuple(file_record(root, name) for name in names),
                limits=LimitsRecord(**limits(own, wanted, each.precision)),
                image_input=ImageInputRecord((30, 40), 6, 0, 1.0, 0.0, float(apart.max())),
            )
        )
    if alone:
        for file in (file for each in record.artifacts for file in each.files):
            (root / file.path).unlink()
        record = replace(record, artifacts=(), recommended=f"{record.recommended}-image")
    kept = {name: stored[name] for name in (REFERENCE, *(each.id for each in record.artifacts))}
    np.savez(root / GOLDEN_LOGITS, allow_pickle=False, **kept, **answers)
    files = tuple(file_record(root, file.path) for file in record.golden.files)
    golden = replace(record.golden, files=files)
    write_record(root, replace(record, artifacts=(*record.artifacts, *added), golden=golden))
    return root
