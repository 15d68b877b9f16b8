"""Losses for many labels, by name."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("hpa")
def soft_f1_loss(targets, probabilities):
    """Return 1 - soft macro F1 of a batch, with probabilities in place of counts (the report's fine-tuning loss).

    For each class F1 = 2 sum(p t) / (sum(p) + sum(t)) over the batch. A class without a positive in the batch has no F1
    there and is left out of the mean: counted as 0, as in the report's script, it would only shift the loss by a
    constant that changes from batch to batch, and perfect predictions would not reach 0.

    Args:
        targets: float tensor [B, classes] of 0 and 1.
        probabilities: float tensor [B, classes] in [0, 1].

    Returns:
        A scalar in [0, 1]; 0 if the batch has no positive at all.
    """
    targets = ops.cast(targets, probabilities.dtype)
    positives = ops.sum(targets, axis=0)
    f1 = 2 * ops.sum(targets * probabilities, axis=0) / (ops.sum(probabilities, axis=0) + positives + 1e-7)
    present = ops.cast(positives > 0, f1.dtype)
    return ops.sum(present * (1 - f1)) / ops.maximum(ops.sum(present), 1)


LOSS_FUNCTIONS = {"binary-crossentropy": keras.losses.binary_crossentropy, "soft-f1": soft_f1_loss}
