"""VGG networks as frozen layers and a trainable head, and their pretrained weights."""
