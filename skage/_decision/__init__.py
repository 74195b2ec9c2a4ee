"""The thresholds of a decision about a limit of age, and how it does on either side."""
