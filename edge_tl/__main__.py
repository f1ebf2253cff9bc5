"""`python -m edge_tl` and `edge-tl`: what happens before the command line is imported."""

import gc
import os
import sys

from edge_tl.own_path import leave_working_folder


def main() -> None:
    """Run one verb, in UTF-8 mode where the locale is ASCII. Importing the command line takes a second on a slow board,
    and can be interrupted too."""
    leave_working_folder()  # before anything else is imported
    _in_utf8()
    try:
        from edge_tl import cli
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        cli.main()
    finally:
        cli._interrupts.ignore()  # Ctrl-C while Python exits would change the exit code
        gc.freeze()  # else Python looks for cycles among a million objects of PyTorch's, a second before it ends


def _in_utf8() -> None:
    """Restart Python in UTF-8 mode where the locale is C. It cannot decode file names beyond ASCII there, and no
    runtime opens such a path. The encoding is set when Python starts; children inherit it."""
    if os.name == "posix" and sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        words = [sys.executable, *sys.orig_argv[1:]]
        os.execve(sys.executable, words, os.environ | {"PYTHONUTF8": "1"})


if __name__ == "__main__":
    main()
