"""From an FP32 classifier to INT8 artifacts that keep its accuracy: ranges, Q/DQ graphs, NNCF, training, the ladder."""
