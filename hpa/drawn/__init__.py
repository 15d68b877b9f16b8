"""Drawn cells: data for everyone without the real images, and for tests."""
