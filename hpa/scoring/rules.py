"""The names of the rules for thresholds and weights; light, so that a command can list them without loading NumPy."""

import argparse
from typing import Any

from hpa.errors import BadInput, shown

THRESHOLDS = ("per-class", "global", "class-share")  # see hpa.scoring.thresholds.find_thresholds
WEIGHTS = ("shifted", "equal", "greedy", "optimum")  # see hpa.scoring.weights.member_weights
EXPECTED_THRESHOLD = f"expected {', '.join(THRESHOLDS)} or a number between 0 and 1"


def threshold_rule(text: str) -> str | float:
    """Read an option that is one of `THRESHOLDS` or a number between 0 and 1."""
    found = _threshold(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{EXPECTED_THRESHOLD}, found '{text}'")
    return found


def require_rules(weights: str, threshold: str | float | None) -> str | float | None:
    """Return the rule of the thresholds, a number as a float, if both rules are known; None stays None.

    BadInput is raised for weights that are not one of `WEIGHTS`, and a threshold that is not as for `threshold_rule`.
    """
    if not isinstance(weights, str) or weights not in WEIGHTS:
        raise BadInput(f"weights {shown(str(weights))}: expected one of {', '.join(WEIGHTS)}", setting="weights")
    found = _threshold(threshold)
    if found is None and threshold is not None:
        raise BadInput(f"threshold {shown(str(threshold))}: {EXPECTED_THRESHOLD}", setting="threshold")
    return found


def _threshold(given: Any) -> str | float | None:
    """Return one of `THRESHOLDS`, or a number between 0 and 1 that is one or is written as one; None for anything else."""
    if isinstance(given, str) and given in THRESHOLDS:
        return given
    try:
        number = float(given)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if 0 < number < 1 else None
