"""onnxruntime-web is taken from where a person says, checked, and never fetched unasked."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path

import pytest

from edge_tl.device.errors import BadInput, EdgeTLError
from edge_tl.host.web import ort_web as packages
from edge_tl.host.web.ort_web import TESTED, ort_web

WASM = {"ort.wasm.min.mjs": b'import("ort-wasm-simd-threaded.mjs")', "ort-wasm-simd-threaded.mjs": b"1"}
WASM |= {"ort-wasm-simd-threaded.wasm": b"\0asm"}
WEBGPU = {"ort.webgpu.min.mjs": b'import("ort-wasm-simd-threaded.asyncify.mjs")'}
WEBGPU |= {"ort-wasm-simd-threaded.asyncify.mjs": b"2", "ort-wasm-simd-threaded.asyncify.wasm": b"\0asm2"}


def package(folder: Path, files: dict[str, bytes], **said: str) -> Path:
    """The folder of a package."""
    (folder / "dist").mkdir(parents=True)
    about = {"name": "onnxruntime-web", "version": TESTED, "license": "MIT"} | said
    (folder / "package.json").write_text(json.dumps(about), "utf-8")
    for name, content in files.items():
        (folder / "dist" / name).write_bytes(content)
    return folder


def packed(folder: Path, to: Path) -> Path:
    """The archive that `npm pack` writes of it."""
    with tarfile.open(to, "w:gz") as archive:
        archive.add(folder, "package")
    return to


def test_a_folder_an_archive_and_node_modules_give_the_same(tmp_path: Path) -> None:
    folder = package(tmp_path / "app" / "node_modules" / "onnxruntime-web", WASM | WEBGPU | {"ort.js": b"no"})
    found = ort_web(folder)
    assert found.files == WASM | WEBGPU
    assert found.number == (1, 30)
    assert {name: files[0] for name, files in found.providers.items()} == packages.ENTRIES
    assert ort_web(packed(folder, tmp_path / "a.tgz")) == found
    assert ort_web(tmp_path / "app") == found


def test_a_package_without_webgpu_serves_webassembly(tmp_path: Path) -> None:
    lame = WEBGPU | {}
    del lame["ort-wasm-simd-threaded.asyncify.wasm"]
    assert list(ort_web(package(tmp_path / "p", WASM | lame)).providers) == ["wasm"]


@pytest.mark.parametrize(
    ("files", "said", "words"),
    [
        (WEBGPU, {}, "lacks what the page needs"),
        (WASM, {"version": "1.19.2"}, "1.19.2 lacks what the page needs"),
        (WASM, {"version": "latest"}, "onnxruntime-web latest"),
        (WASM, {"name": "onnxruntime-node"}, "onnxruntime-node 1.30.0"),
    ],
)
def test_another_package_is_refused(
    files: dict[str, bytes], said: dict[str, str], words: str, tmp_path: Path
) -> None:
    folder = package(tmp_path / "p", files, **said)
    for source in (folder, packed(folder, tmp_path / "p.tgz")):
        with pytest.raises(BadInput, match=words):
            ort_web(source)


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(b"not an archive")
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "a.tgz", tmp_path / "empty", tmp_path / "missing"):
        with pytest.raises(BadInput, match=r"npm pack onnxruntime-web@1\.30\.0"):
            ort_web(source)


def test_a_link_in_an_archive_is_not_followed(tmp_path: Path) -> None:
    archive = packed(package(tmp_path / "p", {}), tmp_path / "whole.tgz")
    with tarfile.open(archive, "w:gz") as writing:
        about = json.dumps({"name": "onnxruntime-web", "version": TESTED}).encode()
        member = tarfile.TarInfo("package/package.json")
        member.size = len(about)
        writing.addfile(member, io.BytesIO(about))
        link = tarfile.TarInfo("package/dist/ort.wasm.min.mjs")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        writing.addfile(link)
    with pytest.raises(BadInput, match="lacks what the page needs"):
        ort_web(archive)


def test_nothing_is_fetched_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages.subprocess, "run", lambda *_, **__: pytest.fail("npm was called"))
    with pytest.raises(BadInput, match=r"npm pack onnxruntime-web@1\.30\.0.*or add --npm"):
        ort_web(None)
    with pytest.raises(BadInput, match="give one"):
        ort_web(Path("a.tgz"), npm=True)


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for npm is a shell script")
def test_npm_fetches_only_what_was_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = packed(package(tmp_path / "p", WASM), tmp_path / "theirs.tgz")
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    monkeypatch.setenv("PATH", f"{npm.parent}:/usr/bin:/bin")
    npm.write_text(f'#!/bin/sh\n[ "$2" = onnxruntime-web@{TESTED} ] && cp {archive} "$5/a.tgz"\n')
    npm.chmod(0o755)
    with pytest.raises(EdgeTLError, match=r"another onnxruntime-web 1\.30\.0 than was tested"):
        ort_web(None, npm=True)
    npm.write_text("#!/bin/sh\necho 'npm error code ENOTFOUND' >&2\nexit 1\n")
    with pytest.raises(EdgeTLError, match=r"could not fetch.*ENOTFOUND.*--ort-web"):
        ort_web(None, npm=True)


def test_npm_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="npm is not installed"):
        ort_web(None, npm=True)
