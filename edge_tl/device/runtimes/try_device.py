"""One device, tried in a process of its own, whose arguments are RUNTIME and DEVICE; it prints JSON.

That a build offers a provider says nothing about its driver, and a driver may end the process that tries it. Loads no
model but its own.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from edge_tl.device import spawn
from edge_tl.device.errors import FellBack
from edge_tl.device.records.devices import TrialRecord
from edge_tl.device.runtimes.base import error_line, without_folders
from edge_tl.device.runtimes.families import BY_NAME

# ONNX, opset 13, IR version 7: y = Conv(x, w), x (1, 3, 2, 2), w = [1, 2, 3] as (1, 3, 1, 1). Both runtimes read it.
MODEL = base64.b64decode(
    "CAcSADprCg8KAXgKAXcSAXkiBENvbnYSAXQqGwgBCAMIAQgBEAFCAXdKDAAAgD8AAABAAABAQFobCgF4EhYKFAgBEhAKAggBCgIIAwoC"
    "CAIKAggCYhsKAXkSFgoUCAESEAoCCAEKAggBCgIIAgoCCAJCBAoAEA0="
)
SECONDS = 120.0  # TensorRT takes its time over the smallest model


def try_device(runtime: str, device: str) -> TrialRecord:
    """Whether a convolution runs on `device`."""
    command = spawn.command("edge_tl.device.runtimes.try_device", runtime, device)
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=SECONDS, check=False
        )
        reason: str | None = json.loads(done.stdout.splitlines()[-1])["reason"]
    except subprocess.TimeoutExpired:
        return TrialRecord(device, False, f"no answer in {SECONDS:.0f} s")
    except (IndexError, KeyError, TypeError, ValueError):
        reason = f"it ended the process (exit code {done.returncode})"
    if reason and (missing := re.search(r"([\w.+-]+): cannot open shared object file", done.stderr)):
        reason += f"; {missing[1]} is missing"  # only the provider's own log says so
    return TrialRecord(device, reason is None, reason)


def trial_fault(runtime: str, device: str) -> str | None:
    """Why the convolution does not work on `device`, None when it does."""
    inputs = np.linspace(0, 1, 12).astype(np.float32).reshape(1, 3, 2, 2)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trial.onnx"
            path.write_bytes(MODEL)
            loaded = BY_NAME[runtime].load()(path, device=device, threads=1)
            loaded.check()
            difference = float(
                np.abs(loaded(inputs) - np.einsum("nchw,c->nhw", inputs, [1, 2, 3])[:, None]).max()
            )
    except FellBack as error:
        return error.why
    except Exception as error:  # drivers raise anything
        return without_folders(error_line(error))
    return None if difference < 0.05 else f"it computes wrongly: off by {difference:.3g}"


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps({"reason": trial_fault(*sys.argv[1:3])}))
