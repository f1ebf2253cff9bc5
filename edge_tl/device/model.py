"""An artifact of a bundle, loaded: images in, labels and probabilities out. Prints nothing and times nothing."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_tl.device.artifact_choice import open_best
from edge_tl.device.bundle import Artifact, Bundle
from edge_tl.device.errors import BadImage, BadInput, BundleError, EdgeTLError, ReadError
from edge_tl.device.images.decode import Decoded, examine
from edge_tl.device.machine import cores_allowed
from edge_tl.device.metrics import not_numbers, softmax
from edge_tl.device.records.codec import Record
from edge_tl.device.records.tuned import TunedRecord
from edge_tl.device.runtimes.devices import check_device_name
from edge_tl.device.runtimes.open import Logits, Runtime
from edge_tl.device.text import printable
from edge_tl.device.tuning.open_pick import open_pick

Picture = Image.Image | NDArray[np.uint8] | str | os.PathLike[str] | bytes | bytearray | memoryview
"""An image: a path, encoded bytes, a Pillow image, or uint8 pixels `(H, W, 3)` in RGB or `(H, W)` in grey."""


@dataclass(frozen=True)
class Score(Record):
    """A label and its probability, a fraction in [0, 1]."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction(Record):
    """The answer for one image: `top`, the best labels first, or `failure`, why there is no answer.

    `image` is its path, None for an image that has none. `remark` says what had to be assumed to read it.
    """

    document = "prediction"
    advice = "run edge-tl predict again"
    error = BadInput

    image: str | None
    top: tuple[Score, ...]
    remark: str | None = None
    failure: str | None = None

    @property
    def label(self) -> str:
        """The best label. Raises `BadImage` where there is a `failure`."""
        return self._best().label

    @property
    def probability(self) -> float:
        """Of the best label, in [0, 1]. Raises `BadImage` where there is a `failure`."""
        return self._best().probability

    def _best(self) -> Score:
        if self.failure is not None:
            raise BadImage(self.image or "an image without a path", self.failure)
        return self.top[0]


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
        pixels, remark = self._pixels(_encoded(image))
        (answer,) = self._answers([(_path(image), pixels, remark)], _positive("top", top))
        return answer

    def predict_many(
        self, images: Iterable[Picture], *, top: int = 3, batch_size: int = 16
    ) -> Generator[Prediction, None, None]:
        """One prediction for each image, in order, as they are asked for: `batch_size` images at a time go through the
        model, while threads decode the next ones. An image that cannot be read is a prediction with a `failure`.

        At most `batch_size` images, and one for each allowed core, are taken before their answers are given. Pixels,
        Pillow images and encoded bytes are copied when they are taken: the caller may then change or close them. A
        path is read later: its file must stay as it is until its answer is given.

        Raises `BadInput` for one image alone or for what is no image, and `BundleError` as `predict` does.
        """
        if isinstance(images, Image.Image | np.ndarray | str | bytes | bytearray | memoryview | os.PathLike):
            raise BadInput(
                f"predict_many takes a list of images; this is one {type(images).__name__}. Put it into [ ]."
            )
        return self._predictions(images, _positive("top", top), _positive("batch_size", batch_size))

    def close(self) -> None:
        """Let go of the runtime and its memory."""
        self._runtime = None

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _predictions(
        self, images: Iterable[Picture], top: int, size: int
    ) -> Generator[Prediction, None, None]:
        decoded = self._decoded(images)
        try:
            while batch := list(islice(decoded, size)):
                answers = iter(self._answers([one for one in batch if not isinstance(one, Prediction)], top))
                for one in batch:
                    yield one if isinstance(one, Prediction) else next(answers)
        finally:
            decoded.close()

    def _decoded(self, images: Iterable[Picture]) -> Generator[_Decoded | Prediction, None, None]:
        """Every image as the model's input, one a thread early; Pillow decodes outside the interpreter's lock."""
        threads = cores_allowed()
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            pending: deque[Future[_Decoded | Prediction]] = deque()
            try:
                for image in images:
                    pending.append(pool.submit(self._decode, self._copied(image), _path(image)))
                    if len(pending) > threads:
                        yield pending.popleft().result()
                while pending:
                    yield pending.popleft().result()
            finally:  # whoever stops early does not wait for what was queued
                for future in pending:
                    future.cancel()

    def _copied(self, image: Picture) -> _Copied:
        """What a thread may decode whatever the caller does next, or why the image has no pixels. Raises `BadInput`."""
        encoded = _encoded(image)
        if not isinstance(encoded, Image.Image):
            return encoded
        try:  # it may share an array's memory, read its file lazily, or be given twice: threads must not load it
            return examine(encoded, max_pixels=self.bundle.preprocess.max_pixels)
        except (BadImage, ReadError) as error:
            return error

    def _decode(self, image: _Copied, path: str | None) -> _Decoded | Prediction:
        try:
            if isinstance(image, Exception):
                raise image
            return path, *self._pixels(image)
        except BadImage as error:
            return Prediction(path, (), failure=error.reason)
        except ReadError as error:
            return Prediction(path, (), failure=f"cannot be read now: {error.reason}")

    def _pixels(self, image: _Encoded | Decoded) -> tuple[NDArray[np.float32], str | None]:
        """The model's input, float32 `(3, H, W)`, and what had to be assumed."""
        framed = self.bundle.preprocess.framed(image)
        return self.bundle.preprocess.normalize(framed.pixels), framed.remark

    def _answers(self, batch: list[_Decoded], top: int) -> list[Prediction]:
        if not batch:
            return []
        logits = self.runtime(np.stack([pixels for _, pixels, _ in batch]))
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


_Encoded = Image.Image | str | os.PathLike[str] | bytes
_Copied = str | os.PathLike[str] | bytes | Decoded | BadImage | ReadError
_Decoded = tuple[str | None, NDArray[np.float32], str | None]
"""Path, the model's input `(3, H, W)`, what had to be assumed."""


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


def _path(image: Picture) -> str | None:
    return str(image) if isinstance(image, str | os.PathLike) else None


def _positive(name: str, value: int) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise BadInput(f"{name}={value!r}: a {type(value).__name__}. Give a whole number from 1.")
    if value < 1:
        raise BadInput(f"{name} {value}: give a whole number from 1.")
    return value


def _encoded(image: object) -> _Encoded:
    """What the contract decodes. Raises `BadInput`."""
    if isinstance(image, Image.Image | str | os.PathLike | bytes):
        return image
    if isinstance(image, bytearray | memoryview):
        return bytes(image)
    if isinstance(image, np.ndarray):
        sized = image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (3, 4))
        if image.dtype == np.uint8 and sized and image.size:
            return Image.fromarray(np.ascontiguousarray(image))
        raise BadInput(
            f"an array of {image.dtype} and shape {image.shape} is no image. Give uint8 pixels of shape (H, W, 3) in "
            "RGB order, or (H, W) in grey; no batch, no normalized values."
        )
    raise BadInput(
        f"{type(image).__name__} is no image. Give a path, encoded bytes, a Pillow image, or uint8 pixels (H, W, 3)."
    )
