"""Records of edge-tl in experiment trackers: MLflow and Weights & Biases. Nothing leaves the machine unless the user
named a server. Needs no PyTorch."""
