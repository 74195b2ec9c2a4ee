"""VGG networks, their weights, and the cut between frozen and trained layers."""
