"""What runs on the device: the standard library, numpy, Pillow and one runtime. Never PyTorch."""
