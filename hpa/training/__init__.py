"""Stages, losses, the fit with its callbacks, run folders and resume."""
