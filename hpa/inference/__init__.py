"""Predictions of trained networks, with test-time augmentation."""
