"""Presets, losses, optimizers, the fit with its callbacks, SVM heads and search."""
