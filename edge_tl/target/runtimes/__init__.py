"""One file a runtime, and what all of them offer here; `edge_tl.target.runtime` is the way in."""
