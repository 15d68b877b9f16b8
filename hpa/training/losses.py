"""Losses by name."""

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


# Each a function of the share of label smoothing, which means something to the crossentropies alone. Huber's is the
# smooth L1 loss: of probabilities and targets in [0, 1] half the squared difference.
LOSS_FUNCTIONS = {
    "binary-crossentropy": lambda smoothing: keras.losses.BinaryCrossentropy(label_smoothing=smoothing),
    "categorical-crossentropy": lambda smoothing: keras.losses.CategoricalCrossentropy(label_smoothing=smoothing),
    "soft-f1": lambda smoothing: soft_f1_loss,
    "smooth-l1": lambda smoothing: keras.losses.Huber(),
}
