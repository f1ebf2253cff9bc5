"""A short run of `benchmarks/mutate_bundles.py`: no mutant ends in a fault, and none that lies passes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MUTANTS = 60


@pytest.mark.skipif(not hasattr(os, "fork") or not Path("/proc").is_dir(), reason="it forks, and reads /proc")
def test_mutated_bundles_are_refused_in_a_sentence(tmp_path: Path) -> None:
    out = tmp_path / "mutations.json"
    program = [
        sys.executable,
        str(ROOT / "benchmarks/mutate_bundles.py"),
        "--count",
        str(MUTANTS),
        "--seed",
        "11",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*program, "--out", str(out)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text("utf-8"))
    assert found["faults"] == []
    assert found["mutants"] == sum(row["mutants"] for row in found["by_kind"].values()) == MUTANTS
    assert sum(row.get("refused", 0) for row in found["by_kind"].values()) > MUTANTS / 2
