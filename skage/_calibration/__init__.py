"""What calibration learns from images of known age, and the intervals that follow from it."""
