"""`python -m edge_tl` is the same door as `edge-tl`."""

from edge_tl.cli import main

if __name__ == "__main__":
    main()
