"""Artifacts that take raw pixels"""
PREFIX = "pixels/"
