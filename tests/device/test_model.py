"""Labels and probabilities, against a softmax of the raw logits."""

from __future__ import annotations

import gc
import math
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.bundle import Bundle, read_bundle
from edge_tl.device.errors import BadImage, BadInput, EdgeTLError
from edge_tl.device.machine import cores_allowed
from edge_tl.device.model import Model
from edge_tl.device.records.prediction import Prediction


@pytest.fixture
def bundle(bundle_root: Path) -> Bundle:
    return read_bundle(bundle_root)


def test_probabilities_are_the_softmax_of_the_logits(bundle: Bundle) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(bundle.artifact("onnx-fp32").path))
    images = bundle.golden_images()
    logits = session.run(None, {"input": bundle.golden_pixels()})[0]
    got = list(bundle.open("onnx-fp32").predict_many(images))
    assert [one.image for one in got] == [str(path) for path in images]
    for one, row in zip(got, logits.tolist(), strict=True):
        weights = [math.exp(value) for value in row]
        expected = {
            label: weight / sum(weights) for label, weight in zip(bundle.labels, weights, strict=True)
        }
        shown = {score.label: score.probability for score in one.top}
        assert shown == pytest.approx(expected, rel=1e-4)
        assert list(shown.values()) == sorted(shown.values(), reverse=True)
        assert one.top[0].label == one.label == bundle.labels[int(np.argmax(row))]
        assert one.probability == one.top[0].probability


@pytest.mark.parametrize(("top", "shown"), [(1, 1), (2, 2), (3, 3), (99, 3)])
def test_top(bundle: Bundle, top: int, shown: int) -> None:
    model, images = bundle.open(), bundle.golden_images()[:1]
    assert len(model.predict(images[0], top=top).top) == shown
    assert [len(one.top) for one in model.predict_many(images, top=top)] == [shown]


def test_bytes_have_no_name_and_the_same_answer(bundle: Bundle) -> None:
    path = bundle.golden_images()[1]
    from_path, from_bytes = bundle.open().predict_many([path, path.read_bytes()])
    assert from_bytes.image is None
    assert from_bytes.top == from_path.top


def test_a_bad_image_is_named(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("no image", encoding="utf-8")
    with pytest.raises(BadImage, match=r"notes\.jpg"):
        bundle.open().predict(tmp_path / "notes.jpg")
    good, bad = bundle.open().predict_many([bundle.golden_images()[0], tmp_path / "notes.jpg"])
    assert good.failure is None
    assert bad == Prediction(str(tmp_path / "notes.jpg"), (), failure="not an image that Pillow can read")
    with pytest.raises(BadImage, match=r"notes\.jpg: not an image"):
        _ = bad.label


def test_no_images(bundle: Bundle) -> None:
    assert list(bundle.open().predict_many([])) == []


def test_pixels_and_pillow_images_have_the_files_answer(bundle: Bundle) -> None:
    path = bundle.golden_images()[4]
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    pixels = np.asarray(image)
    model = bundle.open()
    given = [path, str(path), image, pixels, bytearray(path.read_bytes())]
    answers = list(model.predict_many(given))
    assert all(answer.top == answers[0].top for answer in answers)
    assert [answer.image for answer in answers] == [str(path), str(path), None, None, None]
    assert [model.predict(each).label for each in given] == [answers[0].label] * 5


@pytest.mark.parametrize(
    "wrong", [np.zeros((1, 8, 8, 3), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8), 3, None]
)
def test_what_is_no_image_says_what_to_give(bundle: Bundle, wrong: object) -> None:
    with pytest.raises(BadInput, match=r"is no image\. Give .*\(H, W, 3\)"):
        bundle.open().predict(wrong)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"is no image\. Give .*\(H, W, 3\)"):
        list(bundle.open().predict_many([wrong]))  # type: ignore[list-item]


@pytest.mark.parametrize("alone", ["photo.jpg", b"\x89PNG", np.zeros((8, 8, 3), np.uint8)])
def test_one_image_in_place_of_a_list_is_refused(bundle: Bundle, alone: object) -> None:
    with pytest.raises(BadInput, match="list of images"):
        bundle.open().predict_many(alone)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [{"top": 0}, {"top": -1}, {"batch_size": 0}])
def test_counts_begin_with_one(bundle: Bundle, option: dict[str, int]) -> None:
    with pytest.raises(BadInput, match="give a whole number from 1"):
        bundle.open().predict_many([], **option)


class Counting:
    """A runtime that answers with the first label and remembers how many images came at once."""

    def __init__(self, labels: int) -> None:
        self.batches: list[int] = []
        self._labels = labels

    def __call__(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        self.batches.append(len(inputs))
        return np.eye(self._labels, dtype=np.float32)[np.zeros(len(inputs), int)]


def counting(bundle: Bundle) -> tuple[Model, Counting]:
    runtime = Counting(len(bundle.labels))
    return Model(bundle, bundle.artifacts[0], runtime), runtime  # type: ignore[arg-type]


def test_images_go_through_the_model_in_batches_and_come_back_in_order(
    bundle: Bundle, tmp_path: Path
) -> None:
    model, runtime = counting(bundle)
    (tmp_path / "bad.jpg").write_text("no image", encoding="utf-8")
    paths = [*bundle.golden_images()[:3], tmp_path / "bad.jpg", *bundle.golden_images()[:3]]
    got = list(model.predict_many(paths, batch_size=3))
    assert [one.image for one in got] == [str(path) for path in paths]
    assert [one.failure is None for one in got] == [True, True, True, False, True, True, True]
    assert runtime.batches == [3, 2, 1]


@pytest.mark.parametrize("artifact", ["onnx-int8", "openvino-fp32"])
def test_many_images_have_the_answers_of_one(bundle: Bundle, tmp_path: Path, artifact: str) -> None:
    """More than a few are classified in parallel, each on a core of its own."""
    (tmp_path / "bad.jpg").write_text("no image", encoding="utf-8")
    images = bundle.golden_images()
    paths = [*images, tmp_path / "bad.jpg", *images, *images]
    model = bundle.open(artifact)
    got = list(model.predict_many(paths))
    assert [one.image for one in got] == [str(path) for path in paths]
    assert [one.image for one in got if one.failure] == [str(tmp_path / "bad.jpg")]
    answered = [one for one in got if one.failure is None]
    same_as_one_by_one(answered, [model.predict(path) for path in images] * 3)


def test_many_are_read_as_they_are_asked_for(bundle: Bundle) -> None:
    model, runtime = counting(bundle)
    path, given = bundle.golden_images()[0], [0]

    def endless() -> Iterator[Path]:
        while True:
            given[0] += 1
            yield path

    stream = model.predict_many(endless(), batch_size=2)
    assert next(stream).image == str(path)
    assert runtime.batches == [2]
    assert given[0] == 2 + cores_allowed()
    stream.close()
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("decode") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the threads that decode have ended"
        time.sleep(0.01)


@pytest.mark.parametrize("artifact", ["onnx-fp32", "openvino-fp32"])
@pytest.mark.parametrize(("pixels", "a_thread"), [(False, 8), (True, 1)])
def test_a_stream_is_not_read_far_ahead(bundle: Bundle, artifact: str, pixels: bool, a_thread: int) -> None:
    """Pixels, which are large, hardly at all."""
    path, given = bundle.golden_images()[0], 0
    image = np.zeros((64, 64, 3), np.uint8) if pixels else path

    def endless() -> Iterator[Path | NDArray[np.uint8]]:
        nonlocal given
        while True:
            given += 1
            yield image

    stream = bundle.open(artifact).predict_many(endless())
    for taken in range(1, 40):
        assert next(stream).image == (None if pixels else str(path))
        assert given < taken + max(9, a_thread * (cores_allowed() + 1))
    stream.close()


def test_a_closed_model_lets_go_of_its_runtime(bundle: Bundle) -> None:
    with bundle.open() as model:
        runtime = weakref.ref(model.runtime)
        assert model.predict(bundle.golden_images()[0]).label in model.labels
    gc.collect()
    assert runtime() is None
    with pytest.raises(EdgeTLError, match=r"is closed\. Open the bundle again"):
        model.predict(bundle.golden_images()[0])


def test_a_prediction_is_the_object_that_predict_prints(bundle: Bundle) -> None:
    path = bundle.golden_images()[0]
    found = bundle.open().predict(path, top=1)
    assert found.to_json() == {
        "image": str(path),
        "top": [{"label": found.label, "probability": found.probability}],
    }
    assert Prediction.from_json(found.to_json()) == found


def same_as_one_by_one(answers: list[Prediction], expected: list[Prediction]) -> None:
    """All but the path, which an image in memory does not have."""
    assert [each.failure for each in answers] == [None] * len(expected)
    assert [each.label for each in answers] == [each.label for each in expected]
    assert [each.remark for each in answers] == [each.remark for each in expected]
    for answer, one in zip(answers, expected, strict=True):
        assert {each.label: each.probability for each in answer.top} == pytest.approx(
            {each.label: each.probability for each in one.top}, abs=1e-5
        )


def frames(bundle: Bundle, mode: str) -> list[NDArray[np.uint8]]:
    """Every golden image and its negative, all of one size, as pixels of `mode`."""
    found = []
    for path in bundle.golden_images():
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB").resize((96, 96)).convert(mode))
        found += [pixels, 255 - pixels]
    return found


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [1, 3, 16])
def test_a_buffer_that_is_filled_again_keeps_no_answer_of_the_next_image(
    bundle: Bundle, mode: str, size: int
) -> None:
    images = frames(bundle, mode)
    buffer = np.empty_like(images[0])

    def camera() -> Iterator[NDArray[np.uint8]]:
        for pixels in images:
            buffer[:] = pixels
            yield buffer
        buffer[:] = 0

    model = bundle.open("onnx-fp32")
    answers = list(model.predict_many(camera(), batch_size=size))
    same_as_one_by_one(answers, [model.predict(pixels) for pixels in images])


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_encoded_bytes_that_are_overwritten_are_those_that_were_given(bundle: Bundle, kind: type) -> None:
    given = [path.read_bytes() for path in bundle.golden_images()]
    buffers = [bytearray(content) for content in given]

    def stream() -> Iterator[bytearray | memoryview]:
        for buffer in buffers:
            yield kind(buffer)
            buffer[:] = bytes(len(buffer))

    model = bundle.open("onnx-fp32")
    answers = list(model.predict_many(stream(), batch_size=3))
    same_as_one_by_one(answers, [model.predict(content) for content in given])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "TIFF"])
def test_one_image_given_many_times_is_decoded_once_at_a_time(
    bundle: Bundle, tmp_path: Path, format: str
) -> None:
    model, path = bundle.open("onnx-fp32"), tmp_path / f"large.{format}"
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise).save(path, format, **({} if format == "GIF" else {"exif": exif}))
    expected = [model.predict(path)] * 8
    for _ in range(5):
        with Image.open(path) as image:
            same_as_one_by_one(list(model.predict_many([image] * 8, batch_size=8)), expected)


def test_an_image_may_be_closed_once_the_next_one_is_asked_for(bundle: Bundle, tmp_path: Path) -> None:
    """With what the opened file says of it: its orientation, its palette, its grey levels."""
    exif, folder = Image.Exif(), tmp_path / "kinds"
    exif[0x0112] = 8
    folder.mkdir()
    for path in bundle.golden_images():
        with Image.open(path) as opened:
            image = opened.convert("RGB").resize((120, 80))
        for kind in ("jpg", "png", "tiff", "webp"):
            image.save(folder / f"{path.stem}.{kind}", exif=exif)
        image.convert("P").save(folder / f"{path.stem}.gif", transparency=3)
        image.convert("L").convert("I").save(folder / f"{path.stem}-wide.tiff")
    paths, model = sorted(folder.iterdir()), bundle.open("onnx-fp32")

    def images() -> Iterator[Image.Image]:
        for path in paths:
            with Image.open(path) as image:
                yield image

    expected = [model.predict(image) for image in images()]
    same_as_one_by_one(expected, [model.predict(path) for path in paths])
    same_as_one_by_one(list(model.predict_many(images(), batch_size=4)), expected)
    assert any(each.remark for each in expected)


def test_a_closed_image_is_a_failure(bundle: Bundle) -> None:
    path = bundle.golden_images()[0]
    with Image.open(path) as image:
        pass
    first, second = bundle.open().predict_many([image, path])
    assert first.failure is not None
    assert second.failure is None
    with pytest.raises(BadImage):
        bundle.open().predict(image)
