"""What runs on the host: PyTorch, ONNX, NNCF and friends. May import `edge_tl.device`, never `edge_tl.cli`."""
