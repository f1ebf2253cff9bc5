"""What a device pays: the size of its environment, and the time from process start to one classified image.

    python benchmarks/device.py BUNDLE IMAGE

Makes a fresh virtual environment with `.[ort]` only, checks that it has no PyTorch, runs the device's verbs in it
on the bundle, and times whole `edge-tl predict` processes. The result goes to benchmarks/results/device.json.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from edge_tl.device.files import write_json
from edge_tl.device.machine import current_load, identity

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "device.json"
RUNS = 15


def main() -> None:
    """Build the environment, run the verbs, write the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("image", type=Path)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    before = current_load().to_json()
    with tempfile.TemporaryDirectory() as scratch:
        environment = Path(scratch) / "venv"
        python = environment / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        empty = size(environment)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", f"{ROOT}[ort]"], check=True)
        whole = size(environment)
        no_torch = subprocess.run(
            [str(python), "-c", "import torch"], capture_output=True, check=False
        ).returncode
        codes = {}
        for verb, more in {"verify": [], "bench": ["--quick"], "predict": [str(options.image)]}.items():
            command = [str(environment / "bin" / "edge-tl"), verb, str(options.bundle), *more]
            codes[verb] = subprocess.run(command, capture_output=True, check=False).returncode
        command = [str(environment / "bin" / "edge-tl"), "predict", str(options.bundle), str(options.image)]
        seconds = []
        for _ in range(RUNS):
            start = perf_counter()
            subprocess.run(command, capture_output=True, check=True)
            seconds.append(perf_counter() - start)
    write_json(
        options.out,
        {
            "what": "an environment with .[ort] only, and whole `edge-tl predict` processes on one image",
            "environment_mb": whole / 1e6,
            "of_which_pip_mb": empty / 1e6,
            "torch_importable": no_torch == 0,
            "exit_codes": codes,
            "predict_seconds": {
                "median": statistics.median(seconds),
                "min": min(seconds),
                "max": max(seconds),
                "n": RUNS,
            },
            "machine": identity().to_json(),
            "conditions": {"before": before, "after": current_load().to_json()},
        },
    )
    print(f"{whole / 1e6:.0f} MB; one image in {statistics.median(seconds):.2f} s; exit codes {codes}")


def size(folder: Path) -> int:
    """Bytes of all files below `folder`, links not followed."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


if __name__ == "__main__":
    main()
