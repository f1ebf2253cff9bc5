"""From a recipe to a run: features, head, backbone, figures."""
