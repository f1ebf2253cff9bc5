"""The program on the device: nothing but the standard library, no half-copied file, no way out of its folder."""

from __future__ import annotations

import ast
import hashlib
import io
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from loopback import until

from edge_tl.host.fleet import agent
from edge_tl.host.fleet.agent.desk import Trouble
from edge_tl.host.fleet.agent.store import Store

FILES = sorted(Path(agent.__file__).parent.glob("*.py"))
FLEET = (
    "import edge_tl.host.fleet.crew, edge_tl.host.fleet.targets, edge_tl.cli.fleet, sys; print(*sys.modules)"
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_imports_the_standard_library_only(path: Path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            own = name.startswith("edge_tl.host.fleet.agent.")
            assert own or name.split(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_the_desk_needs_no_pytorch_for_it():
    loaded = subprocess.run(
        [sys.executable, "-c", FLEET], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "edge_tl.host.fleet.ssh" in loaded
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
from edge_tl.host.fleet.agent import desk
desk.SILENCE_S, desk.GRACE_S = float(sys.argv[1]), 0.5
here = desk.Desk()
here.watch()
with here.child([sys.executable, "-c", sys.argv[2]]) as process:
    print(process.stdout.readline().decode(), flush=True)
    process.stdout.read()
print("gone" if here.gone.wait(60) else "here")
"""


@pytest.mark.parametrize("end", ["closed", "silent"])
def test_what_runs_ends_with_the_desk_even_when_it_will_not(end: str):
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
    with pytest.raises(Trouble) as trouble:
        store.take(sha256(content), io.BytesIO(content[:-1]))
    assert trouble.value.kind == "changed"
    assert list((store.root / "objects").iterdir()) == []

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            assert list((store.root / "objects").iterdir()) == []
            return super().read(size)

    store.take(sha256(content), Slow(content))
    assert store.holds(sha256(content))
    assert list((store.root / "tmp").iterdir()) == []


def test_many_at_once_keep_the_same_content(tmp_path: Path):
    store, content = Store(str(tmp_path / "store")), b"y" * 500_000
    threads = [
        threading.Thread(target=lambda: store.take(sha256(content), io.BytesIO(content))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.holds(sha256(content))
    assert len(list((store.root / "objects").iterdir())) == 1


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_nothing_is_laid_outside(tmp_path: Path, name: str):
    store = Store(str(tmp_path / "store"))
    store.take(sha256(b"x"), io.BytesIO(b"x"))
    with pytest.raises(Trouble, match="outside"):
        store.lay({name: sha256(b"x")}, tmp_path / "place")
    with pytest.raises(Trouble, match="no SHA-256"):
        store.take("../x", io.BytesIO(b"x"))
    assert store.lay({"a/b": sha256(b"x")}, tmp_path / "place").joinpath("a/b").read_bytes() == b"x"
