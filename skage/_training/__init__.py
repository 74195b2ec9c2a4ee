"""Training of the head, the layers that are not frozen."""
