"""`python -m edge_tl` and `edge-tl`: the door, and what happens before it is open."""

import os
import sys

from edge_tl.own_path import leave_working_folder


def main() -> None:
    """Run one verb, in UTF-8 mode where the locale knows ASCII alone. Importing the door takes a second on a slow
    board, and can be interrupted too."""
    leave_working_folder()  # before anything else is imported
    _in_utf8()
    try:
        from edge_tl import cli
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        cli.main()
    finally:
        cli._interrupts.ignored()  # an impatient Ctrl-C while Python ends would be another exit code


def _in_utf8() -> None:
    """In the C locale Python takes every byte of a name beyond ASCII for damage, and no runtime opens such a path. The
    encoding of names is set when Python starts, so it starts again; children inherit it."""
    if os.name == "posix" and sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        words = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, words, os.environ | {"PYTHONUTF8": "1"})


if __name__ == "__main__":
    main()
