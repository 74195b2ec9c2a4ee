"""Model files: skage's own format, and the original DEX models."""
