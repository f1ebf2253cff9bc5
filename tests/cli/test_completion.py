"""`edge-tl --install-completion`, typed in a shell, makes that shell complete verbs and options."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PATIENCE_S = 60.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A home of its own, with a program `edge-tl` as pip makes it."""
    home, programs = tmp_path / "home", tmp_path / "bin"
    home.mkdir()
    programs.mkdir()
    for name in (".bashrc", ".zshrc"):  # a prompt to wait for
        (home / name).write_text("PS1=READY\n")
    program = programs / "edge-tl"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom edge_tl.__main__ import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    return {
        "HOME": str(home),
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "TERM": "dumb",
        "LC_ALL": "C.UTF-8",
    }


def installed(shell: str, environment: dict[str, str]) -> str:
    """Type `edge-tl --install-completion` in the shell, which is found without being named; the shell's path."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed here")
    done = subprocess.run(
        [path, "-c", "edge-tl --install-completion; true"],
        env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert f"{shell} completion installed in" in done.stdout, done
    return path


def typed(command: list[str], keys: str, environment: dict[str, str], *, until: str) -> str:
    """What an interactive shell shows once `keys` are typed: read until it has `until`."""
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(environment["HOME"])
        os.execve(command[0], command, environment)
    shown, end, sent = "", time.monotonic() + PATIENCE_S, False
    try:
        while until not in shown and time.monotonic() < end:
            if select.select([terminal], [], [], 0.5)[0]:
                shown += os.read(terminal, 4096).decode(errors="replace")
            elif not sent and "READY" in shown:  # the prompt is there, and nothing follows it
                os.write(terminal, keys.encode())
                sent = True
    finally:
        os.kill(process, 9)
        os.waitpid(process, 0)
        os.close(terminal)
    return shown


@pytest.mark.parametrize(("keys", "expected"), [("ver\t", "verify "), ("verify --da\t", "verify --data ")])
def test_bash_completes(environment: dict[str, str], keys: str, expected: str) -> None:
    bash = installed("bash", environment)
    command = [bash, "-i"]
    shown = typed(command, f"edge-tl {keys}", environment, until=f"edge-tl {expected}")
    assert f"edge-tl {expected}" in shown


@pytest.mark.parametrize(("keys", "expected"), [("ver\t", "verify "), ("verify --da\t", "verify --data ")])
def test_zsh_completes(environment: dict[str, str], keys: str, expected: str) -> None:
    zsh = installed("zsh", environment)
    command = [zsh, "--no-global-rcs", "-i"]
    shown = typed(command, f"edge-tl {keys}", environment, until=f"edge-tl {expected}")
    assert f"edge-tl {expected}" in shown


@pytest.mark.parametrize(("line", "expected"), [("ver", "verify"), ("verify --da", "--data")])
def test_fish_completes(environment: dict[str, str], line: str, expected: str) -> None:
    """What fish's own completion offers for a line."""
    fish = installed("fish", environment)
    done = subprocess.run(
        [fish, "-c", f'complete -C "edge-tl {line}"'],
        env=environment, cwd=environment["HOME"], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert [word.split("\t")[0] for word in done.stdout.splitlines()] == [expected]
