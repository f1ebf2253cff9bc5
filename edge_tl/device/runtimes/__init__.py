"""One file a runtime, and what all of them offer here; `edge_tl.device.runtimes.open` is the way in."""
