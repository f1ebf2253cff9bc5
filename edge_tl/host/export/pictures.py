"""The images that a report shows, small: errors of the artifact that is recommended, else of the first INT8, else the
first; answers that it changes, or INT8 where it changes none; and some that it gives right.

Nothing here is worth an export: an image that cannot be read any more is left out.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from contextlib import suppress

from edge_tl.device.errors import BadImage, ReadError
from edge_tl.device.images.decode import decode
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.pictures import AnswerPicture, PicturesRecord
from edge_tl.host.export.job import ExportJob
from edge_tl.host.export.notable import NotableAnswer
from edge_tl.host.images.dataset import Sample

Size = tuple[int, int]
_SIDE = 224  # pixels of the longer side


def pictures_record(job: ExportJob, record: BundleRecord) -> PicturesRecord | None:
    """None where there is nothing to show."""
    int8 = [artifact.id for artifact in record.artifacts if artifact.precision == "int8"]
    order = [record.recommended] if record.recommended else []
    order = [name for name in (*order, *int8, record.artifacts[0].id) if name in job.notable]
    if not order:
        return None
    changing = next((name for name in order if job.notable[name].flips), order[0])
    chosen = [(order[0], each) for each in job.notable[order[0]].errors]
    chosen += [(changing, each) for each in job.notable[changing].flips]
    chosen += [(order[0], each) for each in job.notable[order[0]].right]
    small = {each.sample.digest: each.sample for _, each in chosen}
    files = {digest: _small(job, sample) for digest, sample in small.items()}
    found = [_picture(job.dataset.labels, name, each, files[each.sample.digest]) for name, each in chosen]
    errors, flips = len(job.notable[order[0]].errors), len(job.notable[changing].flips)
    parts = (found[:errors], found[errors : errors + flips], found[errors + flips :])
    kept = [tuple(each for each in part if each) for part in parts]
    return PicturesRecord(job.notable[changing].fp32, *kept) if any(kept) else None


def _small(job: ExportJob, sample: Sample) -> tuple[Size, str] | None:
    """The upright image's size, and it as a small JPEG in base64."""
    (source,) = job.dataset.sources([sample])
    with suppress(BadImage, ReadError):
        image = decode(source, max_pixels=job.contract.max_pixels)
        size = image.size
        image.thumbnail((_SIDE, _SIDE))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=80)
        return size, base64.b64encode(buffer.getvalue()).decode()
    return None


def _picture(
    labels: Sequence[str], artifact: str, answer: NotableAnswer, file: tuple[Size, str] | None
) -> AnswerPicture | None:
    if file is None:
        return None
    size, jpeg = file
    return AnswerPicture(
        artifact=artifact,
        image=answer.sample.path,
        label=labels[answer.sample.label],
        pytorch=labels[answer.pytorch],
        pytorch_probability=answer.pytorch_probability,
        device=labels[answer.device],
        device_probability=answer.device_probability,
        size=size,
        jpeg=jpeg,
        heatmap=answer.heatmap,
        pytorch_heatmap=answer.pytorch_heatmap,
    )
