"""`python -m edge_tl` and `edge-tl`: the door, and what happens before it is open."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run one verb, in UTF-8 mode where the locale knows ASCII alone. Importing the door takes a second on a slow
    board, and can be interrupted too."""
    _in_utf8()
    try:
        from edge_tl import cli
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        cli.main()
    finally:
        cli.interrupts.ignored()  # an impatient Ctrl-C while Python ends would be another exit code


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


def _in_utf8() -> None:
    """In the C locale Python takes every byte of a name beyond ASCII for damage, and no runtime opens such a path. The
    encoding of names is set when Python starts, so it starts again; children inherit it."""
    if os.name == "posix" and sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        words = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, words, os.environ | {"PYTHONUTF8": "1"})


if __name__ == "__main__":
    _leave_working_folder()
    main()
