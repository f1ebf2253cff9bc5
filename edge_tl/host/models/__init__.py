"""Classifiers: those that can be fine-tuned, their weights, those that people bring."""
