"""Keras networks, one family a file."""
