"""The two kinds of labels, one class for each sample or any number of classes, and all that differs between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpa.registry import Registry, lazily

if TYPE_CHECKING:
    import keras
    import numpy as np


@dataclass(frozen=True)
class Monitor:
    """What is watched while a network learns.

    Attributes:
        name: the score's name for people.
        training: column of history.csv with the score on the training rows.
        validation: columns with the validation scores, and what they are called in the picture of the curves.
        best: the one of them by which the best epoch is kept.
        scores: function of targets, uint8 [n, classes], and probabilities, float32 [n, classes], to the validation columns.
    """

    name: str
    training: str
    validation: dict[str, str]
    best: str
    scores: Callable[..., dict[str, float]]


@dataclass(frozen=True)
class Labels:
    """A kind of labels. Arrays of targets, probabilities and logits are [n, classes].

    Attributes:
        words: for messages, such as "single-label".
        exclusive: whether each sample has exactly one class, so that class folders and a confusion matrix make sense.
        activation: of a network's output, by Keras' name.
        loss: the crossentropy, a name in `hpa.registry.LOSSES`.
        preset: the preset of training if none is named.
        monitor: what is watched while a network learns.
        metric: returns the Keras metric of the training rows, named as the monitor's column.
        scores: by name, the scores of an evaluation: functions of targets and predicted classes.
        rule: the rule of `hpa.scoring.thresholds.find_thresholds` that is always taken; None to have the choice.
        decide: function of probabilities and thresholds [classes] to the predicted classes, bool [n, classes], and how many
            rows fell back to their most probable class.
        to_logits, from_logits: functions of probabilities and of logits to each other.
        log_loss: function of logits, and targets of 0 and 1, to their mean crossentropy.
        calibrate: function of the decision values of an SVM, and targets, to the scales and the offsets that turn decision
            values into logits, float64 [classes] (see `hpa.training.svm`).
    """

    words: str
    exclusive: bool
    activation: str
    loss: str
    preset: str
    monitor: Monitor
    metric: Callable[[], keras.Metric]
    scores: Mapping[str, Callable[..., float]]
    rule: str | None
    decide: Callable[..., tuple[np.ndarray, int]]
    to_logits: Callable[..., Any]
    from_logits: Callable[..., Any]
    log_loss: Callable[..., float]
    calibrate: Callable[..., tuple[np.ndarray, np.ndarray]]


def _softmax(logits: np.ndarray) -> np.ndarray:
    from scipy.special import softmax

    return softmax(logits, axis=1)


SINGLE_LABEL = Labels(
    words="single-label",
    exclusive=True,
    activation="softmax",
    loss="categorical-crossentropy",
    preset="cells",
    monitor=Monitor(
        "accuracy",
        "accuracy",
        {"validation_accuracy": "all samples alike", "validation_mean_class_accuracy": "mean of the classes"},
        "validation_accuracy",
        lazily("hpa.runs.monitor:single_label_scores"),
    ),
    metric=lazily("keras.metrics:CategoricalAccuracy", name="accuracy"),
    scores=Registry(
        "score",
        {
            "accuracy": "hpa.scoring.metrics:accuracy",
            "mean class accuracy": "hpa.scoring.metrics:mean_class_accuracy",
            "macro F1": "hpa.scoring.metrics:macro_f1_of_those_that_occur",
        },
    ),
    rule="strongest",
    decide=lazily("hpa.scoring.thresholds:most_probable_class"),
    to_logits=lazily("numpy:log"),
    from_logits=_softmax,
    log_loss=lazily("hpa.training.svm:single_label_log_loss"),
    calibrate=lazily("hpa.training.svm:scale_temperature"),
)
MULTI_LABEL = Labels(
    words="multi-label",
    exclusive=False,
    activation="sigmoid",
    loss="binary-crossentropy",
    preset="report",
    monitor=Monitor(
        "macro F1",
        "f1",
        {"validation_f1": "at 0.5", "validation_f1_best": "at the best threshold"},
        "validation_f1_best",
        lazily("hpa.runs.monitor:multi_label_scores"),
    ),
    # Counts are summed over the whole epoch; a mean of the batches' F1 would be another, lower number.
    metric=lazily("keras.metrics:F1Score", average="macro", threshold=0.5, name="f1"),
    scores=Registry(
        "score",
        {
            "macro F1": "hpa.scoring.metrics:macro_f1",
            "micro F1": "hpa.scoring.metrics:micro_f1",
            "exact match": "hpa.scoring.metrics:accuracy",
        },
    ),
    rule=None,
    decide=lazily("hpa.scoring.thresholds:predict_classes"),
    to_logits=lazily("scipy.special:logit"),
    from_logits=lazily("scipy.special:expit"),
    log_loss=lazily("hpa.training.svm:multi_label_log_loss"),
    calibrate=lazily("hpa.training.svm:fit_sigmoids"),
)
LABELS = {"one": SINGLE_LABEL, "many": MULTI_LABEL}  # by what task files, config.json and prediction files hold
