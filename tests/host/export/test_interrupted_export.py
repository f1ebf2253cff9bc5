"""Real signals at real moments of an export: no bundle, or the old one whole; the next export cleans up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_tl.device.bundle import read_bundle
from edge_tl.device.errors import BundleError
from edge_tl.host.runs.folder_lock import LOCK

REPOSITORY = Path(__file__).parents[3]
SHORTCUT = REPOSITORY / "tests" / "shortcut.py"


def python(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)} | variables
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("SIGKILL", "export"), ("SIGKILL", "latency"), ("SIGKILL", "publish-5"),
        ("SIGINT", "evaluation"), ("SIGINT", "latency"), ("SIGINT", "publish-10"),
        ("SIGTERM", "publish-0"),
    ],
)  # fmt: skip
def test_a_signal_leaves_no_bundle_or_the_old_one(
    name: str, moment: str, bundle: Path, run: Path, tmp_path: Path
):
    out = tmp_path / "out"
    shutil.copytree(bundle, out)
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
    command = (SHORTCUT, bundle, "export", run, "--int8", "--out", out, "--overwrite", "--json")
    done = python(*command, STRIKE=f"{moment}:{name}")
    assert done.returncode == (-9 if name == "SIGKILL" else 130), done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    if moment.startswith("publish") and name == "SIGKILL":  # the next export puts the old one back
        with pytest.raises(BundleError, match="not a bundle"):
            read_bundle(out)
    else:
        read_bundle(out)
        there = {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()}
        if name == "SIGKILL":  # the name of a lock that nobody holds any more
            there.pop(LOCK)
        assert there == before
    left = [p for p in out.iterdir() if p.name.startswith(".partial-")]
    assert bool(left) == (name == "SIGKILL")  # whoever can clean up does
    if moment == "publish-5":
        again = python(*command)
        assert again.returncode in (0, 1), again.stderr
        read_bundle(out)
        assert not [p for p in out.iterdir() if p.name.startswith(".")]


def test_ctrl_c_after_two_openvino_runtimes_were_closed_is_a_keyboard_interrupt(bundle: Path):
    """Each `openvino.Core` installs a signal stack of its own. Closed in the order they were opened, the last one
    restores the first one's, whose memory is gone, and the next signal is a segmentation fault."""
    code = (
        "import os, signal, sys; from pathlib import Path; from edge_tl.device.runtimes.open import open_runtime\n"
        "first, second = (open_runtime(Path(sys.argv[1]) / f'model.{p}.xml') for p in ('fp32', 'int8'))\n"
        "del first; del second\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    done = python("-c", code, bundle)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
