"""Recipes: their fields, their YAML, the built-in ones."""
