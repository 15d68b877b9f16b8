"""The macro F1 of many blends, each with its own thresholds: from counts in bins instead of a sort.

A bin holds the floats that share their exponent and first six binary places, so it is at most 1.6 % wide. Counting takes a
tenth of the time of sorting. It is exact enough to choose weights, but not for the thresholds of a submission.
"""

from collections.abc import Callable

import numpy as np

from hpa.scoring.metrics import macro_f1
from hpa.scoring.rules import THRESHOLDS
from hpa.scoring.thresholds import Cuts, Rule, find_thresholds, predict_classes, thresholds_of_cuts

BITS = 17  # the last places of a float32, which a bin ignores
LOWEST, HIGHEST = (int(np.float32(value).view(np.uint32)) >> BITS for value in (2**-14, 1))  # all below 2^-14 in one bin
BINS = HIGHEST - LOWEST + 1
MIDDLES = np.minimum((np.arange(HIGHEST, LOWEST - 1, -1, dtype=np.uint32) << BITS | 1 << BITS - 1).view(np.float32), 1)


def quick_macro_f1(rule: Rule, targets: np.ndarray) -> Callable[[np.ndarray], float]:
    """Return a function that takes probabilities, float32 [n, classes], and returns their macro F1 under a threshold rule.

    A rule that searches thresholds does so in bins, on the same rows; rows without a probability above its threshold stay
    empty. A rule that does not search, `"strongest"` or a number, is followed exactly.

    Args:
        rule: as for `find_thresholds`.
        targets: bool array, or an array of 0 and 1, [n, classes].
    """
    if not (isinstance(rule, np.ndarray) or rule in THRESHOLDS):
        thresholds = find_thresholds(rule, targets, targets)
        return lambda probabilities: macro_f1(targets, predict_classes(probabilities, thresholds)[0])
    # Where in the table [classes, bins, 2] of counts bin 0 of a cell's class is, for its target.
    places = (np.arange(targets.shape[1]) * BINS - LOWEST) * 2 + targets

    def score(probabilities: np.ndarray) -> float:
        cuts = _binned_cuts(places, probabilities)
        predicting = np.count_nonzero(cuts.values > thresholds_of_cuts(rule, cuts)[:, np.newaxis], axis=1)
        f1 = cuts.f1[np.arange(len(predicting)), np.maximum(predicting, 1) - 1]
        return float(np.mean(np.where(predicting, f1, 0)))

    return score


def _binned_cuts(places: np.ndarray, probabilities: np.ndarray) -> Cuts:
    """Return the cuts between bins, the middle of each standing for its probabilities."""
    classes = places.shape[1]
    bins = np.ascontiguousarray(probabilities, np.float32).view(np.uint32) >> BITS
    cells = np.maximum(bins, LOWEST, out=bins).astype(np.intp)
    cells *= 2
    cells += places
    counts = np.bincount(cells.ravel(), minlength=2 * BINS * classes).reshape(classes, BINS, 2)
    others, hits = np.cumsum(counts[:, ::-1], axis=1).transpose(2, 0, 1)
    return Cuts(MIDDLES[np.newaxis], hits, hits + others)
