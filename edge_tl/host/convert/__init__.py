"""From PyTorch to ONNX and OpenVINO IR in floating point: FP32, FP16, 8-bit weights."""
