"""From a run to a proven bundle: artifacts, the images that judge them, gates, recommendation."""
