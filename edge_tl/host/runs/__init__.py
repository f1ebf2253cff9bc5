"""Runs on disk: their record, their weights, where they came from."""
