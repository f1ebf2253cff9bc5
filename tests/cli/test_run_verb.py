"""`edge-tl run`: one command from images to a report, which goes on where it was, and makes nothing twice."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import OPTIONS

RunCli = Callable[..., Any]


@pytest.mark.slow
def test_the_whole_of_it_and_again(run_cli: RunCli, shell: RunCli, images: Path, tmp_path: Path) -> None:
    mine = Path(shutil.copytree(images, tmp_path / "mine"))
    options = [*OPTIONS, "--no-int8", "--out", tmp_path / "out"]
    done = shell("run", mine, *options, "--json")
    assert done.code in (0, 1), done.err  # a noisy machine may fail the speed gate
    found = done.json
    assert {"run", "bundle", "report", "artifacts", "recommended", "passed"} <= found.keys()
    assert Path(found["report"]).read_text("utf-8").startswith("<!doctype html>")
    assert [Path(found[name]).name for name in ("run", "bundle")] == ["run", "bundle"]
    seal = (tmp_path / "out/bundle/bundle.json").read_bytes()

    again = run_cli("run", mine, *options, "--json")
    assert again.code == done.code, again.err
    assert again.json == found
    assert again.err.count("is finished") == 2
    assert (tmp_path / "out/bundle/bundle.json").read_bytes() == seal

    image = next(mine.rglob("*.png"))
    image.rename(image.with_name("new.png"))
    assert run_cli("run", mine, *options).code == done.code  # another name, the same images
    image.with_name("new.png").write_bytes(image_of_another(images))
    changed = run_cli("run", mine, *options)
    assert changed.code == 2
    assert "1 are gone" in changed.err
    assert "--overwrite" in changed.err


def image_of_another(folder: Path) -> bytes:
    """An image whose bytes no other file has."""
    from io import BytesIO

    from PIL import Image

    file = BytesIO()
    with Image.open(next(folder.rglob("*.png"))) as image:
        image.transpose(Image.Transpose.ROTATE_180).save(file, "PNG", compress_level=1)
    return file.getvalue()


def test_what_is_refused_before_anything_is_made(run_cli: RunCli, tmp_path: Path) -> None:
    for words, said in (
        (("none",), "none"),
        ((tmp_path, "--model", "mobilenet_v9"), "mobilenet_v9"),
        ((tmp_path, "--max-drop", "much"), "--max-drop much"),
        ((tmp_path, "--wait-quiet", "soon"), "--wait-quiet soon"),
    ):
        failed = run_cli("run", *words)
        assert failed.code == 2, (words, failed.err)
        assert said in failed.err
    assert not list(tmp_path.iterdir())
