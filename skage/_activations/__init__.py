"""Activations of the frozen layers, computed once for each image and cached."""
