"""The working folder off the path of modules, before anything else is imported: a `queue.py` there would run in place
of the real one. It must import nothing that Python has not loaded when it starts, `__future__` included."""

import os
import sys


def leave_working_folder() -> None:
    """Take the working folder off `sys.path`: what `-c` and `-m` put first, and what an empty entry of PYTHONPATH is.

    It stays where PYTHONPATH has it by name, and where Python's own packages are. Where edge-tl lies in it, it comes
    last, so that nothing beside it stands in for another package.
    """
    try:
        here = os.path.realpath(os.getcwd())
    except OSError:  # removed: nothing comes from there
        return
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    named = any(entry and os.path.realpath(entry) == here for entry in given)
    named |= os.path.basename(here) in ("site-packages", "dist-packages")
    named |= here == os.path.dirname(os.path.realpath(os.__file__))
    put_first = not getattr(sys.flags, "safe_path", False)
    sys.path[:] = [
        entry
        for place, entry in enumerate(sys.path)
        if os.path.realpath(entry or os.curdir) != here or (named and (place > 0 or not put_first))
    ]
    home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if here == home and not named:
        sys.path.append(home)
