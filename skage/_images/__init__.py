"""Reading images, and images made from other images."""
