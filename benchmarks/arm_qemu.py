"""A bundle's gates on another instruction set: 64-bit Arm, emulated by qemu on this machine.

    python benchmarks/arm_qemu.py CACHE BUNDLE [--data DIR]

CACHE is a folder for Debian's arm64 Python and the aarch64 wheels (see tests/arm_walk.sh); it is filled once. The
answers are what a real Arm core of the same features computes; the times are the emulator's and are not kept.
The result goes to benchmarks/results/arm_qemu.json.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

from edge_tl.device.bundle import read_bundle, read_report
from edge_tl.device.files import read_json, write_json
from edge_tl.device.machine import identity

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "benchmarks" / "results" / "arm_qemu.json"


def main() -> None:
    """Verify the bundle under emulation and write what the gates say."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cache", type=Path)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, help="a labelled folder: adds accuracy on it")
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    data = ["--data", str(options.data)] if options.data else []
    with tempfile.TemporaryDirectory() as scratch:
        saved = Path(scratch) / "verify.json"
        walk = ["sh", str(ROOT / "tests" / "arm_walk.sh"), str(options.cache), "verify", str(options.bundle)]
        code = subprocess.run([*walk, *data, "-o", str(saved)], check=False).returncode
        if code not in (0, 1):
            raise SystemExit(f"arm_walk.sh ended with {code}: its last line says why")
        found = read_json(saved)
    if "data" in found:
        found["data"] = {key: found["data"][key] for key in ("reference", "accuracy", "skipped")}
    version = subprocess.run(["qemu-aarch64-static", "--version"], capture_output=True, text=True, check=True)
    write_json(
        options.out,
        {
            "what": "edge-tl verify on emulated 64-bit Arm; answers, no times",
            "emulator": f"{version.stdout.splitlines()[0]}, -cpu cortex-a76",
            "host": identity().to_json(),
            "bundle": {
                "model": bundle.record.provenance.model,
                "input_size": list(bundle.preprocess.input_size),
                "exported_on": bundle.record.provenance.host,
                "quantization": {a.id: a.quantization for a in read_report(options.bundle).artifacts},
            },
            "verify": found,
        },
    )
    for gate in found["gates"]:
        print(
            f"{'pass' if gate['passed'] else 'FAIL'} {gate['gate']} {gate['artifact'] or 'all'}: {gate['reason']}"
        )


if __name__ == "__main__":
    main()
