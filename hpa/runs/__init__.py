"""Run folders: what is in them, and which score counts."""
