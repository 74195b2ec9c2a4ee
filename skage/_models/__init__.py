"""Model files: skage's own, and the original DEX models."""
