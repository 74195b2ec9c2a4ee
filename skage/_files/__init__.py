"""Paths, the container of model files, and the feature cache on disk."""
