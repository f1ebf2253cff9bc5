"""Takes the working folder off the module path before anything else is imported: a `queue.py` there would replace the
real one. It imports only what Python has loaded when it starts, not even `__future__`."""

import os
import sys


def leave_working_folder() -> None:
    """Remove the working folder from `sys.path`: what `-c` and `-m` put first, and an empty entry of PYTHONPATH.

    It stays where PYTHONPATH names it, and where it holds Python's own packages. Where it holds edge-tl, it comes last,
    so that nothing beside edge-tl replaces another package.
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
