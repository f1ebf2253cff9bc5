"""Graphs that take raw pixels: what the nodes of their preprocessing are called. Computes nothing."""

PREFIX = "pixels/"
