"""Images: found, listed, split, decoded once, drawn into batches and augmented; nothing here knows a model."""
