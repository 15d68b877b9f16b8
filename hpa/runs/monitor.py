"""What is watched while a network learns: the scores of an epoch, and the one by which the best epoch is kept."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpa.scoring.metrics import accuracy, macro_f1, mean_class_accuracy
from hpa.scoring.thresholds import best_global_threshold, predict_classes


@dataclass(frozen=True)
class Monitor:
    """What is watched for tasks of one kind.

    Attributes:
        name: the score's name for people.
        training: column of history.csv with the score on the training rows.
        validation: columns with the validation scores, and what they are called in the picture of the curves.
        best: the one of them by which the best epoch is kept.
    """

    name: str
    training: str
    validation: dict[str, str]
    best: str


MONITORS = {
    "many": Monitor(
        "macro F1",
        "f1",
        {"validation_f1": "at 0.5", "validation_f1_best": "at the best threshold"},
        "validation_f1_best",
    ),
    "one": Monitor(
        "accuracy",
        "accuracy",
        {"validation_accuracy": "all samples alike", "validation_mean_class_accuracy": "mean of the classes"},
        "validation_accuracy",
    ),
}


def validation_scores(labels: str, targets: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """Return the columns of history.csv that say how good an epoch is.

    Args:
        labels: `"one"` or `"many"`.
        targets: uint8 array [n, classes] of 0 and 1.
        probabilities: float32 array [n, classes].
    """
    if labels == "one":
        predicted, _ = predict_classes(probabilities, np.ones(targets.shape[1]))
        return {
            "validation_accuracy": accuracy(targets, predicted),
            "validation_mean_class_accuracy": mean_class_accuracy(targets, predicted),
        }
    threshold = best_global_threshold(targets, probabilities)
    return {
        "validation_f1": macro_f1(targets, probabilities > 0.5),
        "validation_f1_best": macro_f1(targets, probabilities > threshold),
        "threshold": threshold,
    }


def has_stalled(scores: Sequence[float], patience: int) -> bool:
    """Tell whether the best of the epochs' scores, the first of equals, is `patience` epochs old; never where that is 0."""
    return patience > 0 and len(scores) - 1 - int(np.argmax(scores)) >= patience
