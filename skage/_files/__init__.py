"""Paths that users give, and the container of model files."""
