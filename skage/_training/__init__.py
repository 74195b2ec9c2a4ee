"""Training of the layers that are not frozen."""
