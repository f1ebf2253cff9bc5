"""What the words after `predict BUNDLE` stand for."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BadInput
from edge_tl.device.predictions.sources import find_images


def stdin(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`photos/` with two images, one of them below, and files that are none."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for place in (folder / "b.png", folder / "deep" / "a.png", folder / "broken.png"):
        place.write_bytes(b"\x89PNG")
    (folder / "raw.nef").write_text("raw")
    (tmp_path / "none").mkdir()
    return folder


def names(found: list[Path]) -> list[str]:
    return [path.as_posix() for path in found]


def test_a_folder_becomes_its_images_and_what_it_leaves_out_is_named(photos: Path, bundle_root: Path) -> None:
    bundle = read_bundle(bundle_root)
    for place in (photos / "b.png", photos / "deep" / "a.png"):
        place.write_bytes(bundle.golden_images()[5].read_bytes())
    found = find_images([photos])
    assert [path.name for path in found.files] == ["b.png", "broken.png", "a.png"]
    assert [Path(str(one.image)).name for one in found.failed] == ["raw.nef"]
    assert found.failed[0].failure is not None
    predictions = list(bundle.open().predict_many(found.images))
    assert [Path(str(one.image)).name for one in predictions if one.failure] == ["broken.png"]
    with pytest.raises(BadInput, match="no image below"):
        find_images([Path("none")])


def test_a_pattern_is_what_a_shell_makes_of_it(photos: Path) -> None:
    assert names(find_images([Path("photos/*.png")]).files) == ["photos/b.png", "photos/broken.png"]
    assert names(find_images([Path("photos/**/a.png")]).files) == ["photos/deep/a.png"]
    assert names(find_images([Path("phot*")]).files)[-1] == "photos/deep/a.png"
    with pytest.raises(BadInput, match=r"nothing matches photos/\*\.gif"):
        find_images([Path("photos/*.gif")])


def test_a_pattern_that_matches_files_and_their_folders_takes_each_file_once(photos: Path) -> None:
    (photos / "empty").mkdir()
    found = find_images([Path("photos/**")])
    assert names(found.files) == ["photos/b.png", "photos/broken.png", "photos/deep/a.png", "photos/raw.nef"]
    assert names(find_images([Path("photos/[de]*")]).files) == ["photos/deep/a.png"]
    with pytest.raises(BadInput, match="nothing matches photos/e"):
        find_images([Path("photos/e*")])


def test_a_file_with_the_characters_of_a_pattern_is_itself(photos: Path) -> None:
    odd = photos / "[1] b?.png"
    odd.write_bytes(b"\x89PNG")
    assert find_images([odd]).files == [odd]


def test_one_image_on_stdin(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    stdin(monkeypatch, b"\xff\xd8\xff content")
    assert find_images([Path("a.png"), Path("-")]).images == [Path("a.png"), b"\xff\xd8\xff content"]
    stdin(monkeypatch, b"")
    with pytest.raises(BadInput, match="nothing came on stdin"):
        find_images([Path("-")])
    with pytest.raises(BadInput, match="given twice"):
        find_images([Path("-")], Path("-"))


def test_a_list_of_paths(monkeypatch: pytest.MonkeyPatch, photos: Path) -> None:
    Path("list.txt").write_bytes("photos/b.png\r\n\nfehlt ü.png\nphotos/deep\n".encode())
    wanted = ["photos/b.png", "fehlt ü.png", "photos/deep/a.png"]
    assert names(find_images([], Path("list.txt")).files) == wanted
    stdin(monkeypatch, Path("list.txt").read_bytes())
    assert names(find_images([], Path("-")).files) == wanted


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\n \n", "no path in it"), (b"a.png\0b.png\0", "holds a NUL"), (None, "no such file")],
)
def test_what_is_no_list_says_so(photos: Path, content: bytes | None, said: str) -> None:
    if content is not None:
        Path("list.txt").write_bytes(content)
    with pytest.raises(BadInput, match=said):
        find_images([], Path("list.txt"))
