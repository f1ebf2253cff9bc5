"""What lies in a folder: images by their first bytes, links followed once, everything else named or counted."""

from __future__ import annotations

import errno
import io
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from edge_tl.device.errors import BadInput
from edge_tl.device.images import folders


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_image_files_are_sorted_visible_and_images(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("b.JPG", "a.png", "deep/er/c.TiFf", "z.jpeg", "w.webp"),
        *("notes.txt", "Thumbs.db", ".hidden.png", ".cache/d.png", "deep/.x/e.png", "noextension", "png"),
    )
    (tmp_path / "folder.png").mkdir()
    found = [str(p.relative_to(tmp_path)) for p in folders.images_in(tmp_path).images]
    assert found == ["a.png", "b.JPG", "deep/er/c.TiFf", "w.webp", "z.jpeg"]
    assert folders.images_in(tmp_path / "folder.png").images == []


def test_image_files_below_a_hidden_folder_count(tmp_path: Path) -> None:
    """Only what lies below the given folder is judged, not where it lies."""
    touch(tmp_path, ".data/cat/a.png")
    assert folders.images_in(tmp_path / ".data/cat").images == [tmp_path / ".data/cat/a.png"]


def test_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "cat/a.png", "Dog/a.png", ".git/a.png", "__MACOSX/a.png", "__pycache__/x", "readme.md")
    (tmp_path / "empty").mkdir()
    assert [p.name for p in folders.class_folders(tmp_path)] == ["Dog", "cat", "empty"]


def encoded(kind: str) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (9, 7), (200, 30, 90)).save(content, kind)
    return content.getvalue()


def told(found: folders.FolderListing, root: Path) -> dict[str, str]:
    return {str(one.path.relative_to(root)): one.reason for one in found.skipped}


KINDS = ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "MPO", "JPEG2000", "WEBP", "AVIF"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["IMG_1", "a.jpg_large", "a.HEIC", "a.JPG", "b.Mpo", "wrong.txt", "x.bin"])
def test_an_image_is_one_by_its_first_bytes_whatever_its_name(tmp_path: Path, kind: str, name: str) -> None:
    Image.init()
    if kind not in Image.SAVE or (kind in ("WEBP", "AVIF") and not features.check(kind.lower())):
        pytest.skip("Pillow here does not write it")
    (tmp_path / name).write_bytes(encoded(kind))
    assert folders.images_in(tmp_path).images == [tmp_path / name]


@settings(deadline=None, max_examples=200)
@given(st.text(st.characters(codec="ascii", categories=["L", "Zs", "P"]), min_size=3, max_size=40))
def test_words_are_no_image(text: str) -> None:
    assert not folders.looks_like_image(text.encode()) or (text[0] == "P" and text[1:2].isdigit())


def test_what_is_no_image_is_counted_by_kind(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.png",
        "a.txt",
        "b.TXT",
        "Thumbs.db",
        "desktop.ini",
        "x.json",
        "README",
        ".DS_Store",
        "._a.jpg",
    )
    found = folders.images_in(tmp_path)
    assert [p.name for p in found.images] == ["a.png"]
    assert found.skipped == []
    kinds = folders.count_kinds(found.others)
    assert {entry.kind: entry.n for entry in kinds} == {
        ".txt": 2, "Thumbs.db": 1, "desktop.ini": 1, ".json": 1, "no suffix": 1, ".DS_Store": 1, "hidden": 1,
    }  # fmt: skip
    assert kinds[0].to_json() == {"kind": ".txt", "n": 2, "example": str(tmp_path / "a.txt")}


def test_a_raw_photograph_is_named_rather_than_its_thumbnail_used(tmp_path: Path) -> None:
    (tmp_path / "DSC_1.NEF").write_bytes(encoded("TIFF"))
    found = folders.images_in(tmp_path)
    assert found.images == []
    assert "raw" in told(found, tmp_path)["DSC_1.NEF"]


def test_linked_files_and_folders_are_followed_and_dangling_links_named(tmp_path: Path) -> None:
    touch(tmp_path, "pool/deep/b.png", "pool/c.png", "red/a.png")
    red = tmp_path / "red"
    (red / "more").symlink_to(tmp_path / "pool", target_is_directory=True)
    (red / "one.png").symlink_to(tmp_path / "pool" / "c.png")
    (red / "gone.png").symlink_to(tmp_path / "absent.png")
    (red / "gone").symlink_to(tmp_path / "absent", target_is_directory=True)
    (red / "self").symlink_to(red / "self")
    found = folders.images_in(red)
    names = [str(p.relative_to(red)) for p in found.images]
    assert names == ["a.png", "more/c.png", "more/deep/b.png", "one.png"]
    assert told(found, red) == {
        "gone": "a link to nothing",
        "gone.png": "a link to nothing",
        "self": "a link that leads to itself",
    }


def test_links_in_a_circle_end_and_a_folder_is_listed_once(tmp_path: Path) -> None:
    touch(tmp_path, "red/a.png", "red/sub/b.png", "blue/c.png")
    red = tmp_path / "red"
    for name, to in {"up": red, "root": tmp_path, "sub/back": red, "again": red / "sub"}.items():
        (red / name).symlink_to(to, target_is_directory=True)
    found = folders.images_in(red)
    assert [str(p.relative_to(red)) for p in found.images] == ["a.png", "sub/b.png"]
    reasons = told(found, red)
    assert sorted(reasons) == ["again", "root", "sub/back", "up"]
    assert "lies in" in reasons["root"]
    # A class that is a link to the folder of all classes would hold all of them.
    (tmp_path / "all").symlink_to(tmp_path, target_is_directory=True)
    assert folders.images_in(tmp_path / "all").images == []


def test_links_cannot_multiply_paths(tmp_path: Path) -> None:
    """Thirty folders, each with two links to the next, are 2^30 paths and thirty folders."""
    for i in range(30):
        touch(tmp_path, f"pool/{i}/x.png")
        for side in "ab":
            (tmp_path / f"pool/{i}/{side}").symlink_to(tmp_path / f"pool/{i + 1}", target_is_directory=True)
    (tmp_path / "red").mkdir()
    (tmp_path / "red" / "start").symlink_to(tmp_path / "pool" / "0", target_is_directory=True)
    assert len(folders.images_in(tmp_path / "red").images) == 30


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_pipes_and_sockets_are_named_and_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with tempfile.TemporaryDirectory(dir="/tmp") as short, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{short}/s")
        (tmp_path / "socket.jpg").symlink_to(f"{short}/s")
        found = folders.images_in(tmp_path)
    assert found.images == []
    assert sorted(told(found, tmp_path)) == ["device.png", "pipe", "pipe.jpg", "socket.jpg"]
    assert all("not opened" in reason for reason in told(found, tmp_path).values())


def test_a_closed_folder_and_a_closed_file_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the system's answer is stood in for."""
    touch(tmp_path, "a.png", "shut/b.png", "note")
    scandir, opened = os.scandir, Path.open

    def closed_folder(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    def closed_file(path: Path, *how: object, **more: object) -> object:
        if path.name == "note":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *how, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(folders.os, "scandir", closed_folder)
    monkeypatch.setattr(Path, "open", closed_file)
    found = folders.images_in(tmp_path)
    assert [p.name for p in found.images] == ["a.png"]
    assert told(found, tmp_path) == dict.fromkeys(["note", "shut"], "cannot be read: Permission denied")


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.ENOMEM])
def test_what_the_machine_cannot_do_is_an_error_and_no_file_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    touch(tmp_path, "a.png", "sub/b.png")
    scandir = os.scandir

    def failing(path: str | os.PathLike[str]) -> object:
        if Path(path).name == "sub":
            raise OSError(code, os.strerror(code), str(path))
        return scandir(path)

    monkeypatch.setattr(folders.os, "scandir", failing)
    with pytest.raises(BadInput, match="sub"):
        folders.images_in(tmp_path)
    with pytest.raises(BadInput, match="sub"):
        folders.class_folders(tmp_path / "sub")


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_names_that_are_not_utf8_are_listed_and_counted(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"\xff.t\xfft")).write_bytes(b"x")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (entry,) = folders.count_kinds(folders.images_in(tmp_path).others)
    assert (entry.kind, entry.n) == (".t\\xfft", 1)
    str(entry.example).encode()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="root alone can become somebody else"
)
def test_what_a_person_may_not_read_is_named() -> None:
    """As above, with the system's own answer: root makes the folder, nobody lists it."""
    script = (
        "import os, sys; from pathlib import Path; from edge_tl.device.images import folders\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "found = folders.images_in(Path(sys.argv[1]))\n"
        "print([p.name for p in found.images], sorted((o.path.name, o.reason) for o in found.skipped))\n"
        "try: folders.class_folders(Path(sys.argv[1]) / 'shut')\n"
        "except folders.BadInput as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        touch(root, "a.png", "shut/b.png", "note")
        (root / "shut").chmod(0)
        (root / "note").chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", script, name], capture_output=True, text=True, timeout=60, check=True
        )
    listed, refusal = done.stdout.splitlines()
    reason = "cannot be read: Permission denied"
    assert listed == f"['a.png'] [('note', '{reason}'), ('shut', '{reason}')]"
    assert refusal.startswith("cannot read the folder")
