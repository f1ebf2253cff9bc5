"""What runs at the desk: PyTorch, ONNX, NNCF and friends. May import `edge_tl.device`, never `edge_tl.cli`."""
