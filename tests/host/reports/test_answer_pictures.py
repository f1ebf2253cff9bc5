"""The images of the page: who answers what, where the map lies, and what a damaged or foreign record does to it."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("jinja2")
pytest.importorskip("matplotlib")

from host.reports.samples import bundle, sample
from PIL import Image

from edge_tl.device.errors import BundleError
from edge_tl.device.records.bundle import BundleRecord
from edge_tl.device.records.pictures import AnswerPicture, PicturesRecord
from edge_tl.host.reports.answer_pictures import ShownPicture, answer_cards
from edge_tl.host.reports.page import write_bundle_page

SIZE = (640, 320)


def jpeg(size: tuple[int, int] = (224, 112)) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 60, 60)).save(buffer, "JPEG")
    return base64.b64encode(buffer.getvalue()).decode()


def picture(**changes: object) -> AnswerPicture:
    values = {
        "artifact": "onnx-int8", "image": "<b>a.png", "label": "rose", "pytorch": "rose",
        "pytorch_probability": 0.52, "device": "tulip", "device_probability": 0.507, "size": SIZE, "jpeg": jpeg(),
        "heatmap": ((1.0, 0.0), (0.0, 0.0)), "pytorch_heatmap": ((0.0, 0.0), (0.0, 1.0)),
    }  # fmt: skip
    return AnswerPicture(**(values | changes))  # type: ignore[arg-type]


def with_pictures(errors: tuple[AnswerPicture, ...], flips: tuple[AnswerPicture, ...] = ()) -> BundleRecord:
    return replace(bundle(sample("bundle")), pictures=PicturesRecord("onnx-fp32", errors, flips))


def pixels(shown: ShownPicture) -> np.ndarray:
    content = base64.b64decode(shown.address.partition(",")[2])
    image = Image.open(io.BytesIO(content))
    assert image.size == (shown.width, shown.height)
    return np.asarray(image).astype(int)


def test_a_flip_has_both_answers_and_both_maps_side_by_side() -> None:
    found = answer_cards(with_pictures((), (picture(),)))
    assert found is not None
    ((heading, (card,)),) = found.parts
    assert "onnx-int8" in heading
    assert card.said == (("true label", "rose"), ("PyTorch", "rose, 52.0 %"), ("onnx-int8", "tulip, 50.7 %"))
    _, fp32, int8 = card.pictures
    assert (fp32.caption, int8.caption) == ("onnx-fp32: rose", "onnx-int8: tulip")
    # Yellow is at the top left of one map and at the bottom right of the other, inside the crop.
    a, b = pixels(int8), pixels(fp32)
    assert a[5:15, 60:70, 0].mean() > 100 > b[5:15, 60:70, 0].mean()
    assert b[-15:-5, -70:-60, 0].mean() > 100 > a[-15:-5, -70:-60, 0].mean()
    striped = a[:, :40]
    assert np.abs(striped[..., 0] - striped[..., 2]).max() < 12  # grey: not seen


def test_the_page_stays_whole_and_says_what_a_picture_shows(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    write_bundle_page(with_pictures((picture(),), (picture(),)), page)
    text = page.read_text()
    assert text.count("<img ") == 6
    assert 'alt="heat map of onnx-int8 for tulip, over &lt;b&gt;a.png"' in text
    assert "<b>a.png" not in text
    write_bundle_page(bundle(sample("bundle")), page)
    assert "<img " not in page.read_text()
    assert "Where the answers come from" not in page.read_text()


def test_without_maps_the_answers_stand_and_the_way_to_a_map_is_said() -> None:
    found = answer_cards(with_pictures((picture(heatmap=None, pytorch_heatmap=None),)))
    assert found is not None
    assert len(found.parts[0][1][0].pictures) == 1
    assert "--explain --artifact onnx-int8" in found.notes[0]


def test_a_picture_that_is_none_is_left_out() -> None:
    text = base64.b64encode(b"no picture").decode()
    assert answer_cards(with_pictures((picture(jpeg=text), picture(jpeg="A")))) is None


def test_many_large_pictures_stay_below_three_megabytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=95)
    one = picture(jpeg=base64.b64encode(buffer.getvalue()).decode(), size=(300, 300))
    page = tmp_path / "report.html"
    write_bundle_page(with_pictures((one,) * 64, (one,) * 64), page)
    assert 1_000_000 < page.stat().st_size < 3_000_000


@pytest.mark.parametrize(
    "broken",
    [
        {"heatmap": [[1.0], [1.0, 2.0]]}, {"heatmap": []}, {"heatmap": [[]]}, {"jpeg": '"><script>'},
        {"heatmap": [[0.0] * 200] * 200}, {"size": [0, 3]}, {"device_probability": 1.5},
    ],
)  # fmt: skip
def test_a_record_that_no_export_writes_is_refused(broken: dict[str, object]) -> None:
    record = PicturesRecord("onnx-fp32", (picture(),)).to_json()
    record["errors"][0] |= broken
    with pytest.raises(BundleError, match=next(iter(broken))):
        PicturesRecord.from_json(record)
