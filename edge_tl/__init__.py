"""edge-tl: fine-tune an image classifier, export it, and prove that the device gives PyTorch's answers."""

__version__ = "0.1.0"
