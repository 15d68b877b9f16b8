"""The names of the rules for thresholds and weights; light, so that a command can list them without loading NumPy."""

import argparse

THRESHOLDS = ("per-class", "global", "class-share")  # see hpa.scoring.thresholds.find_thresholds
WEIGHTS = ("shifted", "equal", "greedy", "optimum")  # see hpa.scoring.weights.member_weights


def threshold_rule(text: str) -> str | float:
    """Read an option that is one of `THRESHOLDS` or a number between 0 and 1."""
    if text in THRESHOLDS:
        return text
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"expected {', '.join(THRESHOLDS)} or a number between 0 and 1, found '{text}'")
    return number
