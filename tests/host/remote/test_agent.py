"""The program on the device: nothing but the standard library, no half-copied file, no way out of its folder."""

from __future__ import annotations

import ast
import hashlib
import io
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from loopback import until

from edge_tl.host.remote import agent
from edge_tl.host.remote.agent.channel import AgentError
from edge_tl.host.remote.agent.store import Store

FILES = sorted(Path(agent.__file__).parent.glob("*.py"))
REMOTE = (
    "import edge_tl.host.remote.run_all, edge_tl.host.remote.inventory, edge_tl.cli._remote_run, sys; "
    "print(*sys.modules)"
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_imports_the_standard_library_only(path: Path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            own = name.startswith("edge_tl.host.remote.agent.")
            assert own or name.split(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_the_host_needs_no_pytorch_for_it():
    loaded = subprocess.run(
        [sys.executable, "-c", REMOTE], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "edge_tl.host.remote.ssh" in loaded
    assert not {"torch", "torchvision", "onnxruntime", "openvino", "nncf"} & set(loaded)


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)  # inherited by the grandchild
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
print(child.pid, flush=True)
time.sleep(3600)
"""
WATCHED = """
import sys
from edge_tl.host.remote.agent import channel
channel.SILENCE_S, channel.GRACE_S = float(sys.argv[1]), 0.5
here = channel.Channel()
here.watch()
with here.child([sys.executable, "-c", sys.argv[2]]) as process:
    print(process.stdout.readline().decode(), flush=True)
    process.stdout.read()
print("gone" if here.closed.wait(60) else "here")
"""


@pytest.mark.parametrize("end", ["closed", "silent"])
def test_what_runs_ends_with_the_host_even_when_it_will_not(end: str):
    """Its pipe was closed, or nothing came through it for long: a cable that was pulled closes nothing."""
    command = [sys.executable, "-c", WATCHED, "3600" if end == "closed" else "0.5", STUBBORN]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as agent_process:
        assert agent_process.stdin is not None
        assert agent_process.stdout is not None
        grandchild = psutil.Process(int(agent_process.stdout.readline()))
        stubborn = grandchild.parent()
        assert stubborn
        if end == "closed":
            agent_process.stdin.close()
        try:
            until(
                lambda: not grandchild.is_running() or grandchild.status() == "zombie",
                "the grandchild to end",
            )
            assert agent_process.stdout.read().split() == ["gone"]
        finally:
            agent_process.kill()
            with suppress(psutil.Error):
                stubborn.kill()
                grandchild.kill()


def test_a_content_has_its_name_only_when_it_is_whole(tmp_path: Path):
    store = Store(str(tmp_path / "store"))
    content = b"x" * 3_000_000
    with pytest.raises(AgentError) as caught:
        store.add(sha256(content), io.BytesIO(content[:-1]))
    assert caught.value.kind == "changed"
    assert list((store.root / "objects").iterdir()) == []

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert list((store.root / "objects").iterdir()) == []
            return super().read(size)

    store.add(sha256(content), Slow(content))
    assert store.has(sha256(content))
    assert list((store.root / "tmp").iterdir()) == []


def test_many_at_once_keep_the_same_content(tmp_path: Path):
    store, content = Store(str(tmp_path / "store")), b"y" * 500_000
    threads = [
        threading.Thread(target=lambda: store.add(sha256(content), io.BytesIO(content))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.has(sha256(content))
    assert len(list((store.root / "objects").iterdir())) == 1


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_nothing_is_laid_outside(tmp_path: Path, name: str):
    store = Store(str(tmp_path / "store"))
    store.add(sha256(b"x"), io.BytesIO(b"x"))
    with pytest.raises(AgentError, match="outside"):
        store.link_tree({name: sha256(b"x")}, tmp_path / "place")
    with pytest.raises(AgentError, match="no SHA-256"):
        store.add("../x", io.BytesIO(b"x"))
    assert store.link_tree({"a/b": sha256(b"x")}, tmp_path / "place").joinpath("a/b").read_bytes() == b"x"


KINDS = ("runs", "code", "envs", "objects", "tmp")


def owned(root: Path) -> dict[str, str]:
    """A person's own folder, with the names that edge-tl uses too, older than anything is kept."""
    files = {f"{kind}/flowers/notes.txt": f"{kind} of mine" for kind in KINDS}
    files |= {"objects/" + "a" * 64: "an object of mine", "envs/" + "b" * 16 + "/x": "an environment of mine"}
    files |= {"runs/1-2/x": "a run of mine", "tmp/tmpabcdefgh/x": "mine", "photo.jpg": "a photograph"}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for one in (path, *path.relative_to(root).parents):
            os.utime(root / one, (1e9, 1e9))
    return files


def read_back(root: Path) -> dict[str, str]:
    return {p.relative_to(root).as_posix(): p.read_text() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("kind", [*KINDS, "photo"])
def test_a_folder_that_holds_a_persons_own_is_left_as_it_is(tmp_path: Path, kind: str):
    """All of it, and each of the names alone."""
    root = tmp_path / "mine"
    files = owned(root)
    if kind != "photo":
        for other in {*KINDS, "photo.jpg"} - {kind}:
            path = root / other
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        files = {name: text for name, text in files.items() if name.startswith(kind)}
    with pytest.raises(AgentError, match="mine") as caught:
        Store(str(root)).clean()
    assert caught.value.kind == "foreign"
    assert read_back(root) == files


@pytest.mark.parametrize("folder", ["~", "~/", "/", "~/."])
def test_the_home_and_what_holds_it_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str):
    monkeypatch.setenv("HOME", str(tmp_path))  # an empty one, as in a fresh container
    with pytest.raises(AgentError, match="the home") as caught:
        Store(folder)
    assert caught.value.kind == "foreign"
    assert list(tmp_path.iterdir()) == []


def test_what_a_person_puts_into_the_marked_folder_stays(tmp_path: Path):
    store = Store(str(tmp_path / "store"))
    store.add(sha256(b"old"), io.BytesIO(b"old"))
    run = store.claim(store.root / "runs" / "1-1")
    run.mkdir()
    files = owned(store.root)
    os.utime(store.object(sha256(b"old")), (1e9, 1e9))
    Store(str(store.root)).clean()
    assert not run.exists()
    assert not store.object(sha256(b"old")).exists()
    kept = read_back(store.root)
    assert {name: kept.get(name) for name in files} == files
    with pytest.raises(
        AgentError, match="is not edge-tl's"
    ):  # a wrong content under an object's name, but not ours
        store.has("a" * 64)
    with pytest.raises(AgentError, match="is not edge-tl's"):
        store.claim(store.root / "runs" / "flowers")
    store.remove(store.root / "runs" / "flowers")
    assert {name: read_back(store.root).get(name) for name in files} == files


def test_a_folder_of_the_versions_before_the_mark_goes_on(tmp_path: Path):
    root = tmp_path / "store"
    for kind in KINDS:
        (root / kind).mkdir(parents=True)
    content = root / "objects" / sha256(b"x")
    content.write_bytes(b"x")
    (root / "tmp" / "pip-unpack-1").mkdir()  # what else used its tmp/
    (root / "runs" / "17-4").mkdir()
    for path in (content, root / "tmp" / "pip-unpack-1"):
        os.utime(path, (1e9, 1e9))
    store = Store(str(root))
    assert store.has(sha256(b"x"))
    os.utime(content, (1e9, 1e9))
    store.clean()
    assert not content.exists()
    assert not (root / "runs" / "17-4").exists()
    assert (root / "tmp" / "pip-unpack-1").is_dir()


def test_a_folder_made_for_it_or_used_by_edge_tl_there_is_taken(tmp_path: Path):
    (tmp_path / "empty").mkdir(mode=0o755)
    Store(str(tmp_path / "empty")).clean()
    (tmp_path / "cache" / "models").mkdir(mode=0o700, parents=True)  # what `verify` on the device remembers
    (tmp_path / "cache" / "models" / "x").touch()
    Store(str(tmp_path / "cache")).clean()
    assert (tmp_path / "cache" / "models" / "x").exists()


def test_links_in_it_lead_no_removal_outside(tmp_path: Path):
    store = Store(str(tmp_path / "store"))
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "file").touch()
    link = store.claim(store.root / "runs" / "5-5")
    link.symlink_to(mine)
    store.clean()
    assert (mine / "file").exists()
