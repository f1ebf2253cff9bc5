"""One writer a folder, through the command line: the second of two trainings into one `--out` is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import OPTIONS, REPOSITORY

TRAINING = [*OPTIONS, *"--strategy full --epochs 500 --batch-size 8 --set train.patience=0".split()]


@pytest.mark.skipif(os.name != "posix", reason="SIGINT")
def test_the_second_training_into_one_folder_is_refused_and_the_first_goes_on(
    digits: Path, tmp_path: Path, shell: Callable[..., Any]
) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-m", "edge_tl", "finetune", str(digits), *TRAINING, "--out", str(run)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    ) as first:
        try:
            assert first.stderr is not None
            for line in first.stderr:
                if line.startswith("epoch 1/"):
                    break
            recipe = (run / "recipe.yaml").read_bytes()
            for options in (["--seed", "1"], ["--resume"], ["--overwrite"]):
                second = shell("finetune", digits, *TRAINING, *options, "--out", run)
                assert second.code == 2, second.err
                assert f"run: another edge-tl (process {first.pid}) writes into it. Wait" in second.err
                assert "Traceback" not in second.err
            assert (run / "recipe.yaml").read_bytes() == recipe
            time.sleep(0.5)
            assert first.poll() is None
        finally:
            first.send_signal(signal.SIGINT)
            first.communicate()
    assert first.returncode == 130
    assert (run / "state.safetensors").is_file()
    assert not (run / ".edge-tl.lock").exists()
