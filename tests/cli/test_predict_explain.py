"""`predict --explain`: pictures beside the answers, in a folder of their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from edge_tl.device.bundle import read_bundle, write_record


@pytest.fixture
def pictures(bundle: Path, tmp_path: Path) -> Path:
    """Two images of one name in two folders."""
    found = tmp_path / "pictures"
    for place, image in zip(("a", "b"), read_bundle(bundle).golden_images(), strict=False):
        (found / place).mkdir(parents=True)
        shutil.copy(image, found / place / f"one{image.suffix}")
    return found


def test_every_image_has_its_picture(run_cli: Callable[..., Any], bundle: Path, pictures: Path) -> None:
    done = run_cli("predict", bundle, pictures, "--explain", "--json")
    assert done.code == 0, done.err
    files = [Path(one["heatmap"]) for one in done.json["results"]]
    assert [str(file) for file in files] == ["heatmaps/one.heatmap.png", "heatmaps/one-2.heatmap.png"]
    for file in files:
        with Image.open(file) as picture:
            assert picture.size[0] >= 320
    assert done.json["heatmaps"] == {"method": "cam", "device": "CPU", "folder": "heatmaps"}


def test_a_number_that_is_a_name_already_is_passed_over(
    run_cli: Callable[..., Any], bundle: Path, pictures: Path
) -> None:
    third = next((pictures / "a").iterdir())
    shutil.copy(third, pictures / f"one-2{third.suffix}")
    done = run_cli(
        "predict",
        bundle,
        pictures / "a",
        pictures / "b",
        pictures / f"one-2{third.suffix}",
        "--explain",
        "--json",
    )
    assert done.code == 0, done.err
    assert len({one["heatmap"] for one in done.json["results"]}) == 3
    assert len(list(Path("heatmaps").iterdir())) == 3


def test_the_answers_are_those_without(run_cli: Callable[..., Any], bundle: Path, pictures: Path) -> None:
    with_maps = run_cli("predict", bundle, pictures, "--explain", "--json").json["results"]
    for one in with_maps:
        del one["heatmap"]
    assert with_maps == run_cli("predict", bundle, pictures, "--json").json["results"]


def test_nothing_is_written_over(run_cli: Callable[..., Any], bundle: Path, pictures: Path) -> None:
    there = Path("maps") / "one-2.heatmap.png"
    there.parent.mkdir()
    there.write_text("mine")
    done = run_cli("predict", bundle, pictures, "--explain", "--heatmaps", "maps")
    assert done.code == 2
    assert "one-2.heatmap.png is there already" in done.err
    assert there.read_text() == "mine"
    assert len(list(there.parent.iterdir())) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--heatmaps", "maps"], "Add --explain"),
        (["--explain", "--heatmaps", "file"], "a file is there"),
    ],
)
def test_a_folder_that_cannot_be_is_refused(
    run_cli: Callable[..., Any], bundle: Path, pictures: Path, options: list[str], said: str
) -> None:
    Path("file").write_text("mine")
    done = run_cli("predict", bundle, pictures, *options)
    assert done.code == 2
    assert said in done.err
    assert not done.out


def test_a_bundle_of_before_is_to_be_exported_again(
    run_cli: Callable[..., Any], bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    old = Path(shutil.copytree(bundle, tmp_path / "old"))
    record = read_bundle(old).record
    artifacts = tuple(replace(each, heatmap=None) for each in record.artifacts)
    write_record(old, replace(record, artifacts=artifacts))
    done = run_cli("predict", old, pictures, "--explain")
    assert done.code == 2
    assert "no record of heat maps. Export the run again" in done.err
    assert not Path("heatmaps").exists()


def test_an_image_that_cannot_be_read_has_no_picture(
    run_cli: Callable[..., Any], bundle: Path, pictures: Path
) -> None:
    (pictures / "a" / "broken.png").write_bytes(b"no image")
    done = run_cli("predict", bundle, pictures, pictures / "a" / "broken.png", "--explain", "--json")
    assert done.code == 2
    assert len(list(Path("heatmaps").iterdir())) == len(done.json["results"]) == 2
