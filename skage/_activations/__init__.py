"""Frozen activations, computed once per image and kept."""
