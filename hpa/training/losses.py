"""Losses by name, alone or two in a blend."""

from collections.abc import Sequence
from functools import partial

import keras
from keras import ops

from hpa.settings import parse_loss

# The asymmetric loss' exponent and margin for negatives; positives have no exponent: the paper's choice for MS-COCO.
FOCUS, MARGIN = 4, 0.05


def soft_f1(targets, probabilities, sample_weight=None):
    """Return 1 - soft macro F1 of a batch, with probabilities in place of counts (the report's fine-tuning loss).

    For each class F1 = 2 sum(p t) / (sum(p) + sum(t)) over the batch, each row counted by its weight. A class without a
    positive in the batch has no F1 there and is left out of the mean: counted as 0, as in the report's script, it would
    only shift the loss by a constant that changes from batch to batch, and perfect predictions would not reach 0.

    Args:
        targets: float tensor [B, classes] of numbers in [0, 1].
        probabilities: float tensor [B, classes] in [0, 1].
        sample_weight: float tensor [B]; None weighs all rows alike.

    Returns:
        A scalar in [0, 1]; 0 if the batch has no positive at all.
    """
    weights = 1.0 if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
    positives = ops.sum(weights * targets, axis=0)
    both = ops.sum(weights * targets * probabilities, axis=0)
    f1 = 2 * both / (ops.sum(weights * probabilities, axis=0) + positives + 1e-7)
    present = ops.cast(positives > 0, f1.dtype)
    return ops.sum(present * (1 - f1)) / ops.maximum(ops.sum(present), 1)


def weighted_binary_crossentropy(targets, probabilities, sample_weight=None, label_smoothing=0.0, positive_weights=None):
    """Return the mean of -(w t log p + (1 - t) log(1 - p)) over rows and classes, with a weight w for each class.

    Args:
        targets: float tensor [B, classes] of numbers in [0, 1].
        probabilities: float tensor [B, classes] in [0, 1].
        sample_weight: float tensor [B]; None weighs all rows alike.
        label_smoothing: share of each target that is replaced by one half.
        positive_weights: a number for each class.
    """
    targets = targets * (1 - label_smoothing) + label_smoothing / 2
    positive, negative = _log_losses(probabilities)
    return _mean(ops.cast(positive_weights, targets.dtype) * targets * positive + (1 - targets) * negative, sample_weight)


def asymmetric(targets, probabilities, sample_weight=None):
    """Return the asymmetric loss: easy negatives are damped and the easiest left out, positives are not.

    The mean over rows and classes of -(t log p + (1 - t) q^`FOCUS` log(1 - q)) with q = max(p - `MARGIN`, 0) (Ridnik et
    al. 2021, "Asymmetric Loss for Multi-Label Classification"). Arguments are those of `soft_f1`.
    """
    shifted = ops.maximum(probabilities - MARGIN, 0)
    positive, _ = _log_losses(probabilities)
    _, negative = _log_losses(shifted)
    return _mean(targets * positive + (1 - targets) * ops.power(shifted, FOCUS) * negative, sample_weight)


def _log_losses(probabilities) -> tuple:
    """Return -log p and -log(1 - p), finite for every p: Keras takes the logits where it knows them, or else clips."""
    positive = ops.binary_crossentropy(ops.ones_like(probabilities), probabilities)
    return positive, ops.binary_crossentropy(ops.zeros_like(probabilities), probabilities)


def _mean(losses, sample_weight):
    rows = ops.mean(losses, axis=-1)
    return ops.mean(rows if sample_weight is None else rows * sample_weight)


# Each a function of the share of label smoothing, which means something to the crossentropies and the focal loss alone,
# and of the weight of each class' positives or None, for binary crossentropy alone. Huber's is the smooth L1 loss: of
# probabilities and targets in [0, 1] half the squared difference.
LOSS_FUNCTIONS = {
    "binary-crossentropy": lambda smoothing, weights: (
        keras.losses.BinaryCrossentropy(label_smoothing=smoothing)
        if weights is None
        else partial(weighted_binary_crossentropy, label_smoothing=smoothing, positive_weights=weights)
    ),
    "categorical-crossentropy": lambda smoothing, weights: keras.losses.CategoricalCrossentropy(label_smoothing=smoothing),
    "focal": lambda smoothing, weights: keras.losses.BinaryFocalCrossentropy(gamma=2.0, label_smoothing=smoothing),
    "asymmetric": lambda smoothing, weights: asymmetric,
    "soft-f1": lambda smoothing, weights: soft_f1,
    "smooth-l1": lambda smoothing, weights: keras.losses.Huber(),
}


@keras.saving.register_keras_serializable("hpa")
class NamedLoss(keras.losses.Loss):
    """A loss, or the blend of two, as `hpa.settings.parse_loss` reads it.

    It takes weights of rows by itself, since the soft F1 of a batch is more than a mean over its rows.
    """

    def __init__(self, loss: str, label_smoothing: float = 0.0, positive_weights: Sequence[float] | None = None) -> None:
        """Take the name, and what some losses need (see `LOSS_FUNCTIONS`)."""
        super().__init__(name="loss")
        self.config = {"loss": loss, "label_smoothing": label_smoothing, "positive_weights": positive_weights}
        self.parts = [
            (share, LOSS_FUNCTIONS[name](label_smoothing, positive_weights)) for name, share in parse_loss(loss).items()
        ]

    def __call__(self, targets, probabilities, sample_weight=None):
        """Return the loss of a batch, a scalar, from tensors [B, classes], [B, classes] and [B]."""
        probabilities = ops.convert_to_tensor(probabilities)
        targets = ops.cast(targets, probabilities.dtype)
        return sum(share * part(targets, probabilities, sample_weight) for share, part in self.parts)

    def get_config(self) -> dict:
        """Return what the loss is made from, so that Keras can save it with a model."""
        return self.config
