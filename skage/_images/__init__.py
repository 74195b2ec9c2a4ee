"""Reading of images, and images made from images."""
