"""Imbalanced classes: oversampling of rows, and weights of classes."""

import numpy as np
from numpy.random import Generator

from hpa.registry import WEIGHTINGS

# Without a limit the rarest class of the competition, 11 rows of 31,072, would weigh 2,824 times as much.
LARGEST_WEIGHT = 20.0


def repeat_factors(targets: np.ndarray, threshold: float) -> np.ndarray:
    """Return how often each row shall come in an epoch, on average (Gupta et al. 2019, "LVIS", appendix B).

    A class that a share f of the rows has is repeated r = max(1, sqrt(threshold / f)) times, and a row as often as that
    one of its classes which is repeated most.

    Args:
        targets: uint8 array [n, classes] of 0 and 1.
        threshold: the share below which a class is rare; 0 repeats nothing.

    Returns:
        float64 array [n], at least 1.
    """
    frequencies = targets.mean(axis=0)
    factors = np.maximum(1, np.sqrt(threshold / np.maximum(frequencies, 1 / len(targets))))
    return np.where(targets, factors, 1).max(axis=1)


def epoch_size(factors: np.ndarray) -> int:
    """Return how many items every epoch has in which the rows come as often as `factors` say: their sum, rounded."""
    return round(factors.sum())


def epoch_items(rows: np.ndarray, factors: np.ndarray, count: int, generator: Generator) -> np.ndarray:
    """Return the items of an epoch in random order; a row comes `floor(factor)` times, or once more by chance.

    The chance is what the factor has beyond its whole part. It is drawn systematically (equal steps through the sum of
    these parts, from a random start and in a random order of the rows), so that every epoch has the same size.

    Args:
        rows: integer array [m].
        factors: float64 array [m], at least 1.
        count: a number above all rows.
        generator: the source of all randomness.

    Returns:
        int64 array [epoch_size(factors)]. Item `row + k * count` is the copy number k, from 0, of a row.
    """
    times = factors.astype(np.int64)
    extra = epoch_size(factors) - times.sum()
    if extra:
        order = generator.permutation(len(rows))
        edges = (factors - times)[order].cumsum()
        marks = (np.arange(extra) + generator.random()) * (edges[-1] / extra)
        times += np.bincount(order[np.searchsorted(edges, marks)], minlength=len(rows))
    copies = np.arange(times.sum()) - np.repeat(times.cumsum() - times, times)
    return generator.permutation(np.repeat(rows, times) + copies * count)


def positive_weights(targets: np.ndarray, factors: np.ndarray, weighting: str) -> np.ndarray:
    """Return what a positive of each class weighs against a negative: negatives by positives, or the root of that.

    Args:
        targets: uint8 array [n, classes] of 0 and 1.
        factors: float64 array [n], how often each row comes in an epoch.
        weighting: a name in `WEIGHTINGS`.

    Returns:
        float64 array [classes] from 1 / `LARGEST_WEIGHT` to `LARGEST_WEIGHT`.
    """
    positives = factors @ targets
    return _weights((factors.sum() - positives) / np.maximum(positives, 1), weighting)


def class_weights(targets: np.ndarray, factors: np.ndarray, weighting: str) -> np.ndarray:
    """Return what a row of each class weighs where a row has one: the mean count of the classes by its own, or the root.

    The former are scikit-learn's "balanced" class weights. Arguments and result are those of `positive_weights`.
    """
    counts = factors @ targets
    return _weights(counts.mean() / np.maximum(counts, 1), weighting)


def _weights(ratios: np.ndarray, weighting: str) -> np.ndarray:
    return np.clip(ratios ** WEIGHTINGS[weighting], 1 / LARGEST_WEIGHT, LARGEST_WEIGHT)
