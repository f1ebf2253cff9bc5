"""Files of images: found, read, decoded to upright 8-bit RGB, in batches."""
