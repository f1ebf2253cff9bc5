"""One small run and one small INT8 bundle, made once through the command line and shared by every test.

Nothing here imports PyTorch: `tests/device` also runs where only the device's packages are installed.
"""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

# No test asserts how long something takes: an example may wait for a busy machine.
hypothesis.settings.register_profile("edge-tl", deadline=None)
hypothesis.settings.load_profile("edge-tl")

REPOSITORY = Path(__file__).parents[1]
# Sorted, as the package sorts them: an emoji and a space, a decomposed accent (NFD), a composed one (NFC).
CLASSES = {"acht 🎱": 8, "e\u0301e\u0301n": 1, "zéro": 0}
PER_CLASS = 40
OPTIONS = "--model mobilenet_v3_small --weights embedded --image-size 64 --strategy head".split()

# A shell's background job has it ignored, and so would every process that a test interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# `pytest -n 2`: a core for each worker, and for what it starts, or the threads of one wait for the other's.
WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER and hasattr(os, "sched_setaffinity"):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(WORKER.removeprefix("gw")) % len(cores)]})

# What edge-tl remembers of models is shared by all tests of a run; the person's own cache is left alone.
if "EDGE_TL_CACHE" not in os.environ:
    os.environ["EDGE_TL_CACHE"] = tempfile.mkdtemp(prefix="edge-tl-cache-")
    atexit.register(shutil.rmtree, os.environ["EDGE_TL_CACHE"], ignore_errors=True)

# Without the host's packages only the device's tests can run; CI has a job for each.
collect_ignore_glob = [] if importlib.util.find_spec("torch") else ["host/*", "cli/*"]


@dataclass(frozen=True)
class Done:
    """A finished command: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What `--json` printed; fails unless stdout is one line holding one JSON object."""
        assert self.out.endswith("\n"), self
        assert self.out.count("\n") == 1, self.out
        value = json.loads(self.out)
        assert isinstance(value, dict), "--json prints one JSON object, of every verb"
        return value


@pytest.fixture(scope="session")
def shell() -> Callable[..., Done]:
    """`shell("verify", bundle)` runs `python -m edge_tl verify BUNDLE` in a process of its own."""

    def run(*arguments: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "edge_tl", *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | (env or {}),
            timeout=600,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def run_cli(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Done]]:
    """The same command line in this process, in an empty working folder: seconds saved where no process is needed."""
    from edge_tl.cli import main

    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> Done:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return Done(int(stop.value.code or 0), out, err)

    yield run
    signal.signal(signal.SIGTERM, before)


Once = Callable[[str, Callable[[Path], Any]], Any]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """`once(name, make)`: what `make(folder)` returned (JSON), made by the first worker that asks and read by all."""
    own = tmp_path_factory.getbasetemp()
    common = own.parent if WORKER else own

    def get(name: str, make: Callable[[Path], Any]) -> Any:
        from filelock import FileLock

        result = common / f"{name}.json"
        with FileLock(common / f"{name}.lock"):
            if not result.exists():
                result.write_text(json.dumps(make(tmp_path_factory.mktemp(name))), encoding="utf-8")
        return json.loads(result.read_text("utf-8"))

    return get


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's 1,797 digits, one folder a class."""
    from edge_tl.host.demo import write_digits

    return write_digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="session")
def images(digits: Path, once: Once) -> Path:
    """Three classes of 40 real images, and one file that says it is an image and is none."""
    return Path(once("images", lambda folder: _few(digits, folder / "digits")))


def _few(digits: Path, folder: Path) -> str:
    for label, digit in CLASSES.items():
        (folder / label).mkdir(parents=True)
        for path in sorted((digits / str(digit)).iterdir())[:PER_CLASS]:
            shutil.copy(path, folder / label / path.name)
    (folder / "zéro" / "broken.png").write_text("not an image")
    return str(folder)


@pytest.fixture(scope="session")
def finetuned(images: Path, shell: Callable[..., Done], once: Once) -> dict[str, Any]:
    """What `finetune --json` printed; `finetuned["run"]` is the run's folder. Do not write to it."""

    def make(folder: Path) -> Any:
        sets = ["export.calibration_images=30", "export.golden_images=6"]
        options = [*OPTIONS, *(word for value in sets for word in ("--set", value))]
        done = shell("finetune", images, *options, "--out", folder / "run", "--json")
        assert done.code == 0, done.err
        return done.json

    result: dict[str, Any] = once("finetuned", make)
    return result


@pytest.fixture(scope="session")
def run(finetuned: dict[str, Any]) -> Path:
    """The folder of the shared run. Do not write to it."""
    return Path(finetuned["run"])


@pytest.fixture(scope="session")
def exported(run: Path, shell: Callable[..., Done], once: Once) -> dict[str, Any]:
    """What `export --int8 --json` printed: over a minute, so once. A noisy machine may fail the speed gate."""

    def make(folder: Path) -> Any:
        done = shell("export", run, "--int8", "--out", folder / "digits", "--json")
        assert done.code in (0, 1), done.err
        return done.json

    record: dict[str, Any] = once("exported", make)
    return record


@pytest.fixture(scope="session")
def bundle(exported: dict[str, Any]) -> Path:
    """The folder of the shared bundle. Do not write to it; copy it."""
    return Path(exported["bundle"])
