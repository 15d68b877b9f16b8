"""The scores of an epoch, and whether they have stopped improving.

Targets are uint8 arrays [n, classes] of 0 and 1, probabilities float32 arrays [n, classes].
"""

from collections.abc import Sequence

import numpy as np

from hpa.scoring.metrics import accuracy, macro_f1, mean_class_accuracy
from hpa.scoring.thresholds import best_global_threshold, most_probable_class


def single_label_scores(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return the accuracies of the most probable classes."""
    predicted, _ = most_probable_class(probabilities)
    return {
        "validation_accuracy": accuracy(targets, predicted),
        "validation_mean_class_accuracy": mean_class_accuracy(targets, predicted),
    }


def multi_label_scores(targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return the macro F1 at the threshold 0.5 and at the best common one, and this."""
    threshold = best_global_threshold(targets, probabilities)
    return {
        "validation_f1": macro_f1(targets, probabilities > 0.5),
        "validation_f1_best": macro_f1(targets, probabilities > threshold),
        "threshold": threshold,
    }


def has_stalled(scores: Sequence[float], patience: int) -> bool:
    """Tell whether the best of the epochs' scores, the first of equals, is `patience` epochs old; never where that is 0."""
    return patience > 0 and len(scores) - 1 - int(np.argmax(scores)) >= patience
