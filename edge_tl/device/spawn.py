"""Starting a process of our own: the code that runs here, without the working folder on its path.

`python -m edge_tl…` puts the working folder first, where a bundle's `numpy.py` or a person's `queue.py` would run in
place of the real one. Knows nothing of what a child computes.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

# Python 3.10 has no option that leaves the working folder out; -I would also ignore PYTHONPATH and the person's own
# packages. `edge_tl` is loaded from where it is here, and its folder comes last, so that nothing beside it stands in
# for another package.
_BOOT = """
import os, sys
init, parent, module = sys.argv[1:4]
folder = os.path.dirname(init)
with open(os.path.join(folder, "own_path.py")) as text:
    own = {"__file__": text.name, "__name__": "own_path"}
    exec(compile(text.read(), text.name, "exec"), own)
own["leave_working_folder"]()
import importlib.util, runpy
spec = importlib.util.spec_from_file_location("edge_tl", init, submodule_search_locations=[folder])
package = sys.modules["edge_tl"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(package)
if os.path.dirname(folder) not in sys.path:
    sys.path.append(os.path.dirname(folder))
from edge_tl.device import spawn
spawn.end_with(int(parent))
sys.argv[:] = [module, *sys.argv[4:]]
runpy.run_module(module, run_name="__main__", alter_sys=True)
"""
_INIT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "__init__.py")
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOOK_S = 1.0


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs `module` as `__main__` in this interpreter: PYTHONPATH and installed packages are on
    its path, the working folder is not. The child ends when this process does."""
    return [sys.executable, "-c", _BOOT, _INIT, str(os.getpid()), module, *arguments]


def private_stdout() -> TextIO:
    """The standard output, for answers alone: whatever libraries print from now on goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return answers


@contextmanager
def libraries_on_stderr() -> Iterator[None]:
    """What native libraries print meanwhile goes to stderr: stdout has answers alone. So does what other threads
    print."""
    try:
        kept = os.dup(1)
    except OSError:  # there is no stdout
        yield
        return
    sys.stdout.flush()
    try:
        os.dup2(2, 1)
        yield
    finally:
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).fflush(None)  # what they have not written yet
        os.dup2(kept, 1)
        os.close(kept)


def dies_with_parent() -> bool:
    """Have this process killed when the one that started it ends, and say whether that can be had (Linux: prctl(2)).
    Its standard input would tell it as well, but not while it is stopped."""
    if sys.platform != "linux":
        return False
    with suppress(OSError, AttributeError):
        return bool(ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) == 0)
    return False


def end_with(parent: int) -> None:
    """End this process when `parent`, which started it, has ended; where the system does not do that, a thread looks
    once a second. On Linux it ends with the thread that started it, so that is one which lives as long as the child is
    needed. Windows has neither: there the child lives on."""
    if os.name != "posix":
        return
    if not dies_with_parent():
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before it could be asked for
        os._exit(1)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os._exit(1)
