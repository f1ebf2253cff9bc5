"""Frames of a real file, written here by OpenCV: their number, their time, which ones, and that none is another's."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_tl.device.errors import BadInput, MissingExtra
from edge_tl.device.predictions.video import Sampling, Video

RATE, COUNT = 10, 40


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Each frame redder than the one before."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), RATE, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no MJPG")
    for i in range(COUNT):
        writer.write(np.full((48, 64, 3), (0, 0, 6 * i), np.uint8))  # OpenCV's order is blue, green, red
    writer.release()
    return path


def frames(path: Path, **sampling: Any) -> list[tuple[int, float]]:
    video = Video(str(path), Sampling(**sampling))
    found = []
    for frame in video.frames():
        assert frame.pixels.shape == (48, 64, 3)
        assert frame.pixels.dtype == np.uint8
        red, green, blue = frame.pixels.reshape(-1, 3).mean(0)
        assert abs(red - 6 * frame.number) < 4
        assert max(green, blue) < 4
        found.append((frame.number, frame.time_s))
    assert video.ended_early() is None
    video.close()
    return found


def test_every_frame_has_its_number_and_its_time(clip: Path) -> None:
    found = frames(clip)
    assert [number for number, _ in found] == list(range(COUNT))
    assert [seconds for _, seconds in found] == pytest.approx([i / RATE for i in range(COUNT)])


@pytest.mark.parametrize(
    ("sampling", "numbers"),
    [
        ({"every": 15}, [0, 15, 30]),
        ({"fps": 2}, list(range(0, COUNT, 5))),
        ({"fps": 4}, [0, 3, 5, 8, 10]),
        ({"fps": 30}, list(range(COUNT))),
        ({"most": 3}, [0, 1, 2]),
        ({"every": 15, "most": 2}, [0, 15]),
    ],
)
def test_frames_are_chosen_by_count_or_by_time(
    clip: Path, sampling: dict[str, Any], numbers: list[int]
) -> None:
    assert [number for number, _ in frames(clip, **sampling)][: len(numbers)] == numbers
    if sampling != {"fps": 4}:
        assert len(frames(clip, **sampling)) == len(numbers)


def test_a_file_that_is_cut_off_is_told(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    video = Video(str(cut), Sampling())
    count = sum(1 for _ in video.frames())
    if video._declared is None:
        pytest.skip("this OpenCV does not say how many frames a damaged file has")
    assert count < COUNT
    said = video.ended_early()
    assert said is None if video._declared <= count else f"after {count} of" in str(said)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("absent.mp4", "no such file"),
        ("text.mp4", "no video that OpenCV reads"),
        ("rtsp://camera/1", "addresses are not read"),
        ("93", "no such camera"),
    ],
)
def test_what_does_not_open_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("no video")
    with pytest.raises(BadInput, match=said):
        Video(source, Sampling())


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingExtra, match=r'pip install "edge-tl\[video\]"'):
        Video("0", Sampling())


def test_two_ways_to_choose_frames_are_refused() -> None:
    with pytest.raises(BadInput, match="Give one of them"):
        Sampling(every=2, fps=1.0)
    with pytest.raises(BadInput, match="more than 0"):
        Sampling(fps=0.0)
