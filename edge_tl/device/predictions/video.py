"""The frames of a video file or a camera, by OpenCV (extra `video`), with their number and time. Classifies nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.text import printable


@dataclass(frozen=True)
class Sampling:
    """Which frames are looked at: every `every`-th, or `fps` a second of the video's own time, and at most `most`.
    Raises `BadInput` for what contradicts itself."""

    every: int | None = None
    fps: float | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if self.every is not None and self.fps is not None:
            raise BadInput(
                f"--every {self.every} and --fps {self.fps:g}: both choose frames. Give one of them."
            )
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise BadInput(f"--fps {self.fps:g}: give frames a second, more than 0 and at most 1000.")


@dataclass(frozen=True)
class VideoFrame:
    """`number` counts the frames of the source from 0, `time_s` is in seconds from its first; `pixels` are uint8
    `(H, W, 3)` in RGB."""

    number: int
    time_s: float
    pixels: NDArray[np.uint8]


class Video:
    """An opened file, or camera where `source` is a number. `close` lets go of it.

    Raises `MissingExtra` without OpenCV, `BadInput` for what does not open.
    """

    def __init__(self, source: str, sampling: Sampling) -> None:
        self._cv2 = _opencv()
        self.is_camera = source.isdecimal()
        self.name = f"camera {source}" if self.is_camera else source
        self._sampling, self.read, self._left = sampling, 0, False
        if not self.is_camera:
            _check_file(source)
        self._capture = self._cv2.VideoCapture(int(source) if self.is_camera else source)
        if not self._capture.isOpened():
            self._capture.release()
            what = (
                "no such camera, or another program has it"
                if self.is_camera
                else "no video that OpenCV reads"
            )
            raise BadInput(
                f"--source {printable(source)}: {what}. Give another file, or a camera's number, as 0."
            )
        self._declared = self._frames_declared()

    def _frames_declared(self) -> int | None:
        """The frames that the file says it has; None for a camera and where it does not say."""
        count = 0 if self.is_camera else int(self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT))
        return count if count > 0 else None

    def ended_early(self) -> str | None:
        """A sentence where a file has clearly fewer frames than it says; OpenCV tells no damage from an end."""
        declared = self._declared
        if declared is None or self._left or self.read >= declared * 0.95 - 1:
            return None
        return f"{printable(self.name)}: it ended after {self.read} of {declared} frames; it may be damaged"

    def frames(self) -> Iterator[VideoFrame]:
        """The frames that were asked for. Others are read past, and not decoded where the format allows that."""
        given, due = 0, 0.0
        begin: float | None = None
        while self._capture.grab():
            now = time.perf_counter()
            begin = now if begin is None else begin
            number, seconds = self.read, self._time(now - begin)
            self.read += 1
            if not self._wanted(number, seconds, due):
                continue
            whole, pixels = self._capture.retrieve()
            if not whole:
                continue
            if self._sampling.fps:
                due += 1 / self._sampling.fps
                if due < seconds:  # a camera that fell behind does not hurry after
                    due = seconds + 1 / self._sampling.fps
            yield VideoFrame(number, round(seconds, 4), self._cv2.cvtColor(pixels, self._cv2.COLOR_BGR2RGB))
            given += 1
            if given == self._sampling.most:
                self._left = True
                return

    def _wanted(self, number: int, seconds: float, due: float) -> bool:
        if self._sampling.fps:
            return seconds >= due - 1e-6
        return number % (self._sampling.every or 1) == 0

    def _time(self, elapsed: float) -> float:
        """Of the frame that was just grabbed."""
        if self.is_camera:
            return elapsed
        rate = self._capture.get(self._cv2.CAP_PROP_FPS)
        stamp = self._capture.get(self._cv2.CAP_PROP_POS_MSEC) / 1e3
        return float(stamp if stamp > 0 or not rate > 0 else self.read / rate)

    def close(self) -> None:
        """Let go of the file or the camera."""
        self._capture.release()


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise MissingExtra("OpenCV, which --source needs,", "video") from None
    with suppress(AttributeError):  # what it says of a camera that does not open, we say in a sentence
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    return cv2


def _check_file(source: str) -> None:
    """OpenCV would take a web address, a pattern of image files or a device, too."""
    shown = printable(source)
    if "://" in source:
        raise BadInput(
            f"--source {shown}: addresses are not read. Give a video file, or a camera's number, as 0."
        )
    if not Path(source).is_file():
        raise BadInput(f"--source {shown}: no such file. Give a video file, or a camera's number, as 0.")
