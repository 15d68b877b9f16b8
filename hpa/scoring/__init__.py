"""Metrics, thresholds, member weights, blending and the submission file: without Keras or TensorFlow."""
