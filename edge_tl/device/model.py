"""An artifact of a bundle, loaded: images in, labels and probabilities out. Prints nothing and times nothing."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from itertools import chain, islice
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.artifact_choice import open_best
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadImage, BadInput, BundleError, EdgeTLError, ReadError
from edge_tl.device.images.decode import Decoded, examine
from edge_tl.device.images.pictures import (
    EncodedPicture,
    Picture,
    encoded_picture,
    is_one_picture,
    picture_path,
)
from edge_tl.device.machine import cores_allowed
from edge_tl.device.metrics import not_numbers, softmax
from edge_tl.device.ordered_map import ordered_map
from edge_tl.device.raw_pixels import logits_of, raw_pixels
from edge_tl.device.records.prediction import Prediction, Score
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.runtimes.devices import check_device_name
from edge_tl.device.runtimes.open import Logits, Runtime
from edge_tl.device.runtimes.parallel import CallPool, open_parallel
from edge_tl.device.text import printable
from edge_tl.device.tuning.open_pick import open_pick

FEW = 8  # images that are not worth another copy of the model
_BATCH = 16  # images a call, where one call at a time suits the device
_CHUNK = 8  # files that a thread decodes before it runs the model on each: either finds its own in the core's caches


class Model:
    """`artifact` of `bundle` on `runtime`; `Bundle.open` makes one. A context manager that closes it at its end.

    `tuned` is the pick of `edge-tl tune` that chose it, None where nothing did. `note` is one line for a person: "tuned
    for this machine: onnx-int8, 2 threads", or why a pick is not used.
    """

    def __init__(
        self,
        bundle: Bundle,
        artifact: Artifact,
        runtime: Runtime,
        *,
        tuned: TunedRecord | None = None,
        note: str | None = None,
    ) -> None:
        self.bundle, self.artifact, self.tuned, self.note = bundle, artifact, tuned, note
        self._runtime: Runtime | None = runtime

    @property
    def runtime(self) -> Runtime:
        """What runs the artifact. Raises `EdgeTLError` once the model is closed."""
        if self._runtime is None:
            raise EdgeTLError(f"the model {self.artifact.id} is closed. Open the bundle again.")
        return self._runtime

    @property
    def labels(self) -> list[str]:
        """The classes, in the order of the logits."""
        return list(self.bundle.labels)

    def predict(self, image: Picture, *, top: int = 3) -> Prediction:
        """The `top` best labels of one image.

        Raises `BadImage` or `ReadError` that names the image, `BadInput` for what is no image, and `BundleError` for a
        model whose answers are no numbers or not one for each label.
        """
        pixels, remark = self._pixels(encoded_picture(image))
        (answer,) = self._answers([(picture_path(image), pixels, remark)], _positive("top", top))
        return answer

    def predict_many(
        self, images: Iterable[Picture], *, top: int = 3, batch_size: int | None = None
    ) -> Generator[Prediction, None, None]:
        """One prediction for each image, in order, as they are asked for. An image that cannot be read is a prediction
        with a `failure`.

        With a `batch_size`, so many images at a time go through the model, while threads decode the next ones. Without,
        what is fastest: on a CPU every core decodes images and runs the model on them, with copies of the model that
        are loaded for more than 8 images; other devices get batches of 16.

        A few images a core and `batch_size` are taken before their answers are given. Pixels, Pillow images and encoded
        bytes are copied when they are taken: the caller may then change or close them. A path is read later: its file
        must stay as it is until its answer is given.

        Raises `BadInput` for one image alone or for what is no image, and `BundleError` as `predict` does.
        """
        if is_one_picture(images):
            raise BadInput(
                f"predict_many takes a list of images; this is one {type(images).__name__}. Put it into [ ]."
            )
        size = None if batch_size is None else _positive("batch_size", batch_size)
        return self._predictions(images, _positive("top", top), size)

    def close(self) -> None:
        """Let go of the runtime and its memory."""
        self._runtime = None

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def parallel(self, *, streams: bool = False) -> CallPool | None:
        """The model loaded once more, for a thread on every core to run it at the same time, see `open_parallel`; None
        where the device likes batches."""
        return open_parallel(self.artifact.path, self.runtime, cores_allowed(), streams=streams)

    def answer(self, image: Picture, *, top: int = 3, run: CallPool | None = None) -> Prediction:
        """As `predict`, with a `failure` in place of an error where the image cannot be read, and by `run` where that
        is given: several threads may ask."""
        return self._answer((encoded_picture(image), picture_path(image)), _positive("top", top), run)

    def _predictions(
        self, images: Iterable[Picture], top: int, size: int | None
    ) -> Generator[Prediction, None, None]:
        threads = cores_allowed()
        taken = ((self._copied(image), picture_path(image)) for image in images)
        begun = list(islice(taken, FEW + 1)) if size is None else []
        items = chain(begun, taken)
        if run := self.parallel() if len(begun) > FEW else None:
            held = any(isinstance(image, Decoded) for image, _ in begun)  # as pixels, which are large
            chunks = iter(lambda: list(islice(items, 1 if held else _CHUNK)), [])
            for found in ordered_map(
                lambda chunk: self._answer_each(chunk, top, run),
                chunks,
                threads=threads,
                ahead=threads,
                name="predict",
            ):
                yield from found
            return
        decoded = ordered_map(self._decode, items, threads=threads, ahead=threads, name="decode")
        try:
            while batch := list(islice(decoded, size or _BATCH)):
                answers = iter(self._answers([one for one in batch if not isinstance(one, Prediction)], top))
                for one in batch:
                    yield one if isinstance(one, Prediction) else next(answers)
        finally:
            decoded.close()

    def _answer(self, item: _Taken, top: int, run: CallPool | None) -> Prediction:
        return self._answer_each([item], top, run)[0]

    def _answer_each(self, items: list[_Taken], top: int, run: CallPool | None) -> list[Prediction]:
        """One call an image."""
        found = [self._decode(item) for item in items]
        return [
            each if isinstance(each, Prediction) else self._answers([each], top, run)[0] for each in found
        ]

    def _copied(self, image: Picture) -> _Copied:
        """What a thread may decode whatever the caller does next, or why the image has no pixels. Raises `BadInput`."""
        encoded = encoded_picture(image)
        if not isinstance(encoded, Image.Image):
            return encoded
        try:  # it may share an array's memory, read its file lazily, or be given twice: threads must not load it
            return examine(encoded, max_pixels=self.bundle.preprocess.max_pixels)
        except (BadImage, ReadError) as error:
            return error

    def _decode(self, item: _Taken) -> _Decoded | Prediction:
        image, path = item
        try:
            if isinstance(image, Exception):
                raise image
            return path, *self._pixels(image)
        except BadImage as error:
            return Prediction(path, (), failure=error.reason)
        except ReadError as error:
            return Prediction(path, (), failure=f"cannot be read now: {error.reason}")

    def _pixels(self, image: EncodedPicture | Decoded) -> tuple[NDArray[Any], str | None]:
        """The model's input, float32 `(3, H, W)` or raw pixels, uint8 `(h, w, 3)`, and what had to be assumed."""
        if self.artifact.takes_pixels:
            most = self.bundle.preprocess.max_pixels
            whole = image if isinstance(image, Decoded) else examine(image, max_pixels=most)
            return raw_pixels(self.bundle.preprocess, whole)[0], whole.remark
        framed = self.bundle.preprocess.framed(image)
        return self.bundle.preprocess.normalize(framed.pixels), framed.remark

    def _answers(self, batch: list[_Decoded], top: int, run: CallPool | None = None) -> list[Prediction]:
        if not batch:
            return []
        call, inputs = run or self.runtime, [pixels for _, pixels, _ in batch]
        if self.artifact.takes_pixels:  # of any size, so one a call
            logits = logits_of(call, [pixels[None] for pixels in inputs])
        else:
            logits = call(inputs[0][None] if len(inputs) == 1 else np.stack(inputs))
        self._check(logits, len(batch))
        found = []
        for (path, _, remark), row in zip(batch, logits, strict=True):
            probabilities = softmax(row)
            best = probabilities.argsort()[::-1][:top]
            scores = tuple(Score(self.bundle.labels[i], float(probabilities[i])) for i in best)
            found.append(Prediction(path, scores, remark))
        return found

    def _check(self, logits: Logits, n: int) -> None:
        root = printable(self.bundle.root)
        if logits.shape != (n, len(self.bundle.labels)):
            raise BundleError(
                f"{root}: its model answers with {logits.shape} numbers for {n} images and "
                f"{len(self.bundle.labels)} labels. Do not use it."
            )
        if not_numbers(logits):
            raise BundleError(
                f"{root}: its model answers with NaN or infinity. Run edge-tl verify {root}, or export again."
            )


_Copied = EncodedPicture | Decoded | BadImage | ReadError
_Taken = tuple[_Copied, str | None]
"""What a thread may decode, and its path."""
_Decoded = tuple[str | None, NDArray[Any], str | None]
"""Path, the model's input as `Model._pixels` gives it, what had to be assumed."""


def open_model(
    bundle: Bundle, artifact: str | None = None, device: str | None = None, *, allow_fallback: bool = False
) -> Model:
    """What `tune` picked for this machine, where neither an artifact nor a device is asked for; else as `open_best`,
    also for what it raises."""
    note = None
    if device is not None:
        check_device_name(device)
    if artifact is None and device is None:
        opened, note = open_pick(bundle, allow_fallback=allow_fallback)
        if opened:
            return Model(bundle, opened.artifact, opened.runtime, tuned=opened.pick, note=note)
    chosen, runtime = open_best(bundle, artifact, device or "CPU", allow_fallback=allow_fallback)
    return Model(bundle, chosen, runtime, note=note)


def _positive(name: str, value: int) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise BadInput(f"{name}={value!r}: a {type(value).__name__}. Give a whole number from 1.")
    if value < 1:
        raise BadInput(f"{name} {value}: give a whole number from 1.")
    return value
