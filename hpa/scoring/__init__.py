"""Metrics, thresholds, member weights, blending and the submission file: without a library of networks."""
