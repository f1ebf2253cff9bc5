"""`python -m edge_tl` and `edge-tl`: the door, and what happens before it is open."""

from __future__ import annotations

import sys

from edge_tl.target.errors import EXIT_INTERRUPTED


def main() -> None:
    """Run one verb. Importing the door takes a second on a slow board, and can be interrupted too."""
    try:
        from edge_tl import cli
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    cli.main()


if __name__ == "__main__":
    main()
