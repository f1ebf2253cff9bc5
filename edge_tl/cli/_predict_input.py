"""What `predict` classifies, image by image or frame by frame, with the name of each."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from edge_tl.cli._predict_output import Answer
from edge_tl.device.errors import BadInput
from edge_tl.device.predictions.sources import STDIN, ImageSources, find_images
from edge_tl.device.predictions.video import Sampling, Video, VideoFrame

if TYPE_CHECKING:
    from edge_tl.device.model import Model
    from edge_tl.device.records.prediction import Prediction


@dataclass(frozen=True)
class InputOptions:
    """What was asked for. Raises `BadInput` for what does not go together."""

    images: Sequence[Path]
    listed: Path | None
    source: str | None
    every: int | None
    fps: float | None
    frames: int | None

    def __post_init__(self) -> None:
        if self.source is None:
            for name, value in (("every", self.every), ("fps", self.fps), ("frames", self.frames)):
                if value is not None:
                    raise BadInput(
                        f"--{name} {value}: it chooses frames of a video. Add --source, or leave it out."
                    )
            if not self.images and self.listed is None:
                raise BadInput(
                    "nothing to classify. Give images, folders or patterns; - for an image on stdin; --list FILE for a "
                    "list of paths; --source for a video or a camera."
                )
        elif self.images or self.listed is not None:
            given = self.images[0] if self.images else f"--list {self.listed}"
            raise BadInput(f"--source {self.source} beside {given}: give the video or the images.")
        Sampling(self.every, self.fps)

    def find(self) -> ImageSources | Video:
        """The images that were found, or the opened video. Raises `BadInput`, `MissingExtra`."""
        if self.source is None:
            return find_images(self.images, self.listed)
        return Video(self.source, Sampling(self.every, self.fps, self.frames))


def check_endless(asked: InputOptions, found: ImageSources | Video, *, explain: bool, kept: bool) -> None:
    """Raises `BadInput` for what a video cannot have: heat maps; one JSON object of a camera that nobody ends."""
    if not isinstance(found, Video):
        return
    if explain:
        raise BadInput(
            "--explain is for image files. Leave out --source, or write its frames as images first."
        )
    if found.is_camera and kept and asked.frames is None:
        raise BadInput(
            "--json: a camera does not end, and neither would its list. Add --frames N or --out FILE.jsonl."
        )


def image_answers(model: Model, sources: ImageSources, top: int) -> Generator[Answer, None, None]:
    """What folders skipped, then an answer for every image, in order."""
    yield from ((one, None) for one in sources.failed)
    predictions = model.predict_many(sources.images, top=top)
    for one, source in zip(predictions, sources.images, strict=True):
        if isinstance(source, bytes):
            yield replace(one, image=STDIN), source
        else:
            yield one, None


def video_answers(model: Model, video: Video, top: int) -> Generator[Answer, None, None]:
    """An answer for every frame. A file's frames are classified in parallel; a camera's one by one, so that each answer
    is of now."""
    if video.is_camera:
        for frame in video.frames():
            yield _of(model.answer(frame.pixels, top=top), frame, video), Image.fromarray(frame.pixels)
        return
    taken: deque[VideoFrame] = deque()

    def pixels() -> Iterator[Image.Image]:
        for frame in video.frames():
            taken.append(frame)
            yield Image.fromarray(frame.pixels)

    for one in model.predict_many(pixels(), top=top):
        frame = taken.popleft()
        yield _of(one, frame, video), Image.fromarray(frame.pixels)


def _of(one: Prediction, frame: VideoFrame, video: Video) -> Prediction:
    return replace(one, image=video.name, frame=frame.number, time_s=frame.time_s)
