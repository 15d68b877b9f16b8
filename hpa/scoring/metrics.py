"""The F1 score of the competition, from counts over a whole set (a mean over batches is another number)."""

import numpy as np


def class_f1(targets: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return each class's F1 as float64 [classes].

    F1 = 2 TP / (positives + predictions); 0 for a class that has neither, as scikit-learn's `zero_division=0`.

    Args:
        targets: bool array, or an array of 0 and 1, [n, classes].
        predicted: likewise.
    """
    targets, predicted = np.asarray(targets, bool), np.asarray(predicted, bool)
    if targets.shape != predicted.shape or targets.ndim != 2:
        raise ValueError(f"expected two arrays [n, classes]; found {targets.shape} and {predicted.shape}")
    hits = np.count_nonzero(targets & predicted, axis=0)
    claims = np.count_nonzero(targets, axis=0) + np.count_nonzero(predicted, axis=0)
    return 2 * hits / np.maximum(claims, 1)


def macro_f1(targets: np.ndarray, predicted: np.ndarray) -> float:
    """Return the mean of `class_f1` over all classes; arguments as there."""
    return float(class_f1(targets, predicted).mean())
