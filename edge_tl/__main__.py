"""`python -m edge_tl` and `edge-tl`: the door, and what happens before it is open."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one verb. Importing the door takes a second on a slow board, and can be interrupted too."""
    try:
        from edge_tl import cli
    except KeyboardInterrupt:
        sys.exit(130)
    cli.main()


def _leave_working_folder() -> None:
    """Take the working folder, which `python -m` puts first, off the path, before anything else is imported: a
    `queue.py` there would run in place of the real one. Where this package lies in it, it comes last, for processes of
    its own."""
    first = sys.path[0] if sys.path and not getattr(sys.flags, "safe_path", False) else None
    if first is None or os.path.realpath(first or os.curdir) != os.path.realpath(os.curdir):
        return
    del sys.path[0]
    home = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    if os.path.realpath(os.curdir) == home:
        sys.path.append(home)


if __name__ == "__main__":
    _leave_working_folder()
    main()
