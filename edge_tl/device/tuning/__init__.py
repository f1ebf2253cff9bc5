"""What runs best on this machine: `tune` measures it, and opening a bundle uses it."""
