"""Metrics, thresholds, member weights, blending and the submission file: NumPy and pandas only."""
