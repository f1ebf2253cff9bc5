"""From a run to a proven bundle: export, quantize, compare with PyTorch, pack."""
