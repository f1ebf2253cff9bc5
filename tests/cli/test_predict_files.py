"""`predict` of folders, lists and videos, into files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edge_tl.device.bundle import read_bundle

RunCli = Callable[..., Any]


def test_rows_are_what_json_says(run_cli: RunCli, bundle: Path, images: Path) -> None:
    whole = run_cli("predict", bundle, images, "--top", 2, "--json").json
    done = run_cli("predict", bundle, images, "--top", 2, "--json", "--out", "rows.jsonl")
    assert done.code == 2
    assert "results" not in done.json
    assert (done.json["out"], done.json["n"]) == ("rows.jsonl", {"results": 120, "failed": 1})
    rows = [json.loads(line) for line in Path("rows.jsonl").read_text("utf-8").splitlines()]
    assert [row for row in rows if "top" in row] == whole["results"]
    assert [row for row in rows if "top" not in row] == whole["failed"]
    assert run_cli("predict", bundle, images, "--top", 2, "--out", "rows.csv").code == 2
    with Path("rows.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["label"] for row in table if row["label"]] == [
        one["top"][0]["label"] for one in whole["results"]
    ]
    assert [row["image"] for row in table if row["reason"]] == [one["image"] for one in whole["failed"]]
    again = run_cli("predict", bundle, images, "--out", "rows.csv")
    assert (again.code, again.out) == (2, "")
    assert "is there already" in again.err


def test_copies_carry_the_answer(run_cli: RunCli, bundle: Path) -> None:
    pictures = read_bundle(bundle).golden_images()[:3]
    done = run_cli("predict", bundle, *pictures, "--annotated", "copies", "--json")
    assert done.code == 0, done.err
    assert [Path(one["annotated"]).stem for one in done.json["results"]] == [path.stem for path in pictures]
    for one in done.json["results"]:
        with Image.open(one["annotated"]) as copy:
            assert copy.size[0] >= 320
    assert "not empty" in run_cli("predict", bundle, *pictures, "--annotated", "copies").err


def test_a_copy_that_cannot_be_written_is_a_remark(
    run_cli: RunCli, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_tl.cli import _predict_output

    written = _predict_output.write_annotated

    def write(picture: Image.Image, file: Path) -> None:
        if file.stem == "b":
            picture = Image.new("RGB", (1, 70_000))  # which JPEG cannot hold
        written(picture, file)

    monkeypatch.setattr(_predict_output, "write_annotated", write)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (4, 1200)).save(name)
    done = run_cli("predict", bundle, "a.png", "b.png", "--annotated", "copies", "--json")
    assert done.code == 0, done.err
    assert [one.get("annotated") for one in done.json["results"]] == ["copies/a.jpg", None]
    assert "no annotated copy: broken data stream" in done.json["results"][1]["remark"]
    assert "no annotated copy" in done.err
    assert [each.name for each in Path("copies").iterdir()] == ["a.jpg"]


def test_a_video_has_a_row_for_a_frame(run_cli: RunCli, bundle: Path, images: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter("clip.avi", cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 64))
    shown = [
        np.asarray(Image.open(path).convert("RGB").resize((64, 64)))
        for path in sorted(images.glob("*/*0.png"))
    ]
    for pixels in shown[:12]:
        writer.write(np.ascontiguousarray(pixels[..., ::-1]))
    writer.release()
    done = run_cli("predict", bundle, "--source", "clip.avi", "--every", 2, "--json", "--annotated", "frames")
    assert done.code == 0, done.err
    results = done.json["results"]
    count = len(shown[:12])
    assert [one["frame"] for one in results] == list(range(0, count, 2))
    assert [one["time_s"] for one in results] == pytest.approx([i / 5 for i in range(0, count, 2)])
    assert {one["image"] for one in results} == {"clip.avi"}
    assert Path("frames/frame-000002.jpg").is_file()
    lines = run_cli("predict", bundle, "--source", "clip.avi", "--frames", 2).out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "clip.avi frame 0 (0.00 s)",
        "clip.avi frame 1 (0.20 s)",
    ]


def test_a_camera_is_answered_frame_by_frame(
    run_cli: RunCli, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no camera where tests run: OpenCV's object for one is played."""
    cv2 = pytest.importorskip("cv2")

    class Camera:
        def __init__(self, source: object) -> None:
            assert source == 0

        def isOpened(self) -> bool:
            return True

        def grab(self) -> bool:
            return True

        def retrieve(self) -> tuple[bool, Any]:
            return True, np.full((40, 60, 3), 128, np.uint8)

        def release(self) -> None:
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    done = run_cli("predict", bundle, "--source", "0", "--frames", 12, "--json")
    assert done.code == 0, done.err
    assert [one["frame"] for one in done.json["results"]] == list(range(12))
    assert done.json["results"][0]["image"] == "camera 0"
    assert "--frames N" in run_cli("predict", bundle, "--source", "0", "--json").err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nothing to classify"),
        (["a.png", "--source", "0"], "give the video or the images"),
        (["a.png", "--every", "2"], "Add --source"),
        (["a.png", "--out", "rows.txt"], "End it with .csv or .jsonl"),
        (["a.png", "--overwrite"], "nothing is written"),
        (["--source", "clip.avi", "--every", "2", "--fps", "1"], "Give one of them"),
        (["*.gif"], "nothing matches"),
    ],
)
def test_what_does_not_go_together_is_refused(
    run_cli: RunCli, bundle: Path, options: list[str], said: str
) -> None:
    done = run_cli("predict", bundle, *options)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert done.err.count("\n") == 1
