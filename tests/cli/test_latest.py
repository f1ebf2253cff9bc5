"""`latest` names the run or bundle that was made last, and nothing else."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_tl.cli import _latest
from edge_tl.device.errors import BadInput

RunCli = Callable[..., Any]
TINY = Path(__file__).parents[1] / "records" / "bundle-of-version-2"


def made(folder: str, name: str, at: int) -> Path:
    path = Path(folder) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{}")
    (path.parent / ("golden" if name == "bundle.json" else "model.safetensors")).mkdir(exist_ok=True)
    os.utime(path, (at, at))
    return path.parent


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_last_one_wherever_it_lies() -> None:
    made("exported/old", "bundle.json", 100)
    made("runs/photos", "run.json", 300)
    made("demo/bundle", "bundle.json", 200)
    made(".trash/bundle", "bundle.json", 900)
    Path("site").mkdir()
    Path("site/bundle.json").write_text("{}")  # newer, and of another program
    assert _latest.latest_bundle(Path("latest")) == Path("demo/bundle")
    assert _latest.latest_run(Path("latest")) == Path("runs/photos")
    assert _latest.latest_result(Path("latest")) == Path("runs/photos")
    made("mine", "bundle.json", 400)
    assert _latest.latest_bundle(Path("latest")) == _latest.latest_result(Path("latest")) == Path("mine")


def test_a_name_is_left_as_it_is_and_so_is_a_folder_called_latest() -> None:
    made("exported/old", "bundle.json", 100)
    assert _latest.latest_bundle(Path("exported/none")) == Path("exported/none")
    Path("latest").mkdir()
    assert _latest.latest_bundle(Path("latest")) == Path("latest")


def test_nothing_was_made() -> None:
    with pytest.raises(BadInput, match="latest: no bundle below"):
        _latest.latest_bundle(Path("latest"))


def test_verbs_take_it(run_cli: RunCli) -> None:
    shutil.copytree(TINY, "exported/tiny")
    verified = run_cli("verify", "latest")
    assert verified.code == 0, verified.err
    assert "latest: exported/tiny" in verified.err
    assert run_cli("report", "latest", "--json").json["report"] == "exported/tiny/report.html"
    assert run_cli("export", "latest").code == 2
    assert run_cli("bench", "latest", "--quick", "--rounds", "1", "--artifact", "onnx-fp32").code == 0
