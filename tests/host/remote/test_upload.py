"""What is sent: the bundle's own files, folders through their links, and a tar that any tar can read."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput, BundleError
from edge_tl.host.remote import upload


def test_a_bundle_is_what_its_record_lists(tiny: Path):
    (tiny / "notes.txt").write_text("not the bundle's")
    tree = upload.of_bundle(tiny)
    assert tree.name == tiny.name
    assert "bundle.json" in tree.contents
    assert "notes.txt" not in tree.contents
    for name, sha256 in tree.files.items():
        assert hashlib.sha256((tiny / name).read_bytes()).hexdigest() == sha256
    (tiny / "model.fp32.onnx").write_bytes(b"damaged")
    with pytest.raises(BundleError, match="damaged"):
        upload.of_bundle(tiny)


def test_a_folder_is_followed_through_links_and_never_in_circles(tmp_path: Path):
    (tmp_path / "far/deep").mkdir(parents=True)
    (tmp_path / "far/deep/ä b.png").write_text("1")
    root = tmp_path / "data"
    root.mkdir()
    (root / "cats").symlink_to(tmp_path / "far/deep")
    (root / "round").symlink_to(root)
    (root / "gone").symlink_to(root / "nowhere")
    (root / "x.whl").write_text("2")
    assert set(upload.of_path(root).contents) == {"cats/ä b.png", "x.whl"}
    assert set(upload.of_path(root, suffix=".whl").contents) == {"x.whl"}
    assert upload.of_path(root / "x.whl").files == {"": hashlib.sha256(b"2").hexdigest()}
    with pytest.raises(BadInput, match="holds no"):
        upload.of_path(tmp_path / "far/deep", suffix=".whl")
    with pytest.raises(BadInput, match="no such file or folder"):
        upload.of_path(tmp_path / "absent")


def test_the_tar_holds_each_content_under_its_hash(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"a" * 100_000)
    items = [
        *upload.of_path(tmp_path / "a").contents.values(),
        *upload.of_bytes("b", b"bb").contents.values(),
    ]
    stream = io.BytesIO()
    sent: list[int] = []
    upload.write_tar(items, stream, sent.append)
    assert sent == [100_000, 100_002]
    (tmp_path / "x.tar").write_bytes(stream.getvalue())
    with tarfile.open(tmp_path / "x.tar") as tar:
        members = {member.name: tar.extractfile(member) for member in tar}
        for name, content in members.items():
            assert content is not None
            assert hashlib.sha256(content.read()).hexdigest() == name
    assert set(members) == {item.sha256 for item in items}
    done = subprocess.run(["tar", "tf", tmp_path / "x.tar"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [item.sha256 for item in items]


def test_a_file_that_shrank_is_an_error_and_not_a_short_tar(tmp_path: Path):
    (tmp_path / "a").write_bytes(b"a" * 1000)
    [item] = upload.of_path(tmp_path / "a").contents.values()
    (tmp_path / "a").write_bytes(b"a")
    with pytest.raises(OSError, match="unexpected end"):
        upload.write_tar([item], io.BytesIO(), lambda done: None)
