"""The losses: functions of targets and probabilities, float tensors [B, classes] in [0, 1], to a scalar tensor.

`sample_weight` is a float tensor [B], or None for equal weights. `label_smoothing` is the share of each target that is
spread evenly over the outcomes. See `hpa.registry.Loss`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from hpa.registry import Loss, load

if TYPE_CHECKING:
    from keras import KerasTensor

# The asymmetric loss' exponent and margin for negatives; positives have no exponent: the paper's choice for MS-COCO.
FOCUS, MARGIN = 4, 0.05


def soft_f1(targets: KerasTensor, probabilities: KerasTensor, sample_weight: KerasTensor | None = None) -> KerasTensor:
    """Return 1 - soft macro F1 of a batch, with probabilities instead of counts (the report's fine-tuning loss).

    For each class F1 = 2 sum(p t) / (sum(p) + sum(t)) over the batch, with weighted rows. A class without a positive in the
    batch is left out of the mean. The report's script counts it as 0, so that its gradient is smaller by the share of the
    classes that are present, which differs from batch to batch. The loss of a batch without any positive is 0.
    """
    from keras import ops

    weights = 1.0 if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
    positives = ops.sum(weights * targets, axis=0)
    both = ops.sum(weights * targets * probabilities, axis=0)
    f1 = 2 * both / (ops.sum(weights * probabilities, axis=0) + positives + 1e-7)
    present = ops.cast(positives > 0, f1.dtype)
    return ops.sum(present * (1 - f1)) / ops.maximum(ops.sum(present), 1)


def lovasz(targets: KerasTensor, probabilities: KerasTensor, sample_weight: KerasTensor | None = None) -> KerasTensor:
    """Return the Lovász extension of 1 - the Jaccard index, as a mean over the classes that a batch has.

    For predictions of 0 and 1 it is 1 - the index itself: of the rows that have a class or are predicted to, the share that
    is not both. Between them it is linear in the errors |t - p|, once these are sorted (Berman, Triki and Blaschko, "The
    Lovász-softmax loss", CVPR 2018). Rows may be weighted. The loss of a batch without any positive is 0.
    """
    from keras import ops

    errors = ops.abs(targets - probabilities)
    order = ops.argsort(-errors, axis=0)
    weights = (
        ops.ones_like(targets) if sample_weight is None else ops.ones_like(targets) * ops.reshape(sample_weight, (-1, 1))
    )
    errors, truth, weights = (ops.take_along_axis(each, order, axis=0) for each in (errors, targets, weights))
    positives = ops.sum(weights * truth, axis=0)
    found = positives - ops.cumsum(weights * truth, axis=0)
    index = found / ops.maximum(positives + ops.cumsum(weights * (1 - truth), axis=0), 1e-7)
    steps = ops.concatenate([ops.ones_like(index[:1]), index[:-1]], axis=0) - index  # what the index loses with each error
    present = ops.cast(positives > 0, errors.dtype)
    return ops.sum(present * ops.sum(errors * ops.stop_gradient(steps), axis=0)) / ops.maximum(ops.sum(present), 1)


def binary_crossentropy(
    targets: KerasTensor,
    probabilities: KerasTensor,
    sample_weight: KerasTensor | None = None,
    label_smoothing: float = 0.0,
    positive_weights: Sequence[float] | None = None,
) -> KerasTensor:
    """Return the mean of -(w t log p + (1 - t) log(1 - p)) over rows and classes, with a weight w for each class.

    Without `positive_weights`, a number for each class, this is Keras' own loss.
    """
    if positive_weights is None:
        return keras_loss(targets, probabilities, sample_weight, "BinaryCrossentropy", label_smoothing=label_smoothing)
    from keras import ops

    targets = targets * (1 - label_smoothing) + label_smoothing / 2
    positive, negative = _log_losses(probabilities)
    losses = ops.cast(positive_weights, targets.dtype) * targets * positive + (1 - targets) * negative
    return _mean(ops.mean(losses, axis=-1), sample_weight)


def keras_loss(
    targets: KerasTensor, probabilities: KerasTensor, sample_weight: KerasTensor | None, name: str, **options: Any
) -> KerasTensor:
    """Return one of Keras' own losses, by the name of its class, with its options."""
    # Reduced by Keras, it would be divided by the number of devices here already.
    return _mean(load(f"keras.losses:{name}")(reduction=None, **options)(targets, probabilities), sample_weight)


def asymmetric(targets: KerasTensor, probabilities: KerasTensor, sample_weight: KerasTensor | None = None) -> KerasTensor:
    """Return the asymmetric loss: easy negatives are damped and the easiest left out, positives are not.

    The mean over rows and classes of -(t log p + (1 - t) q^`FOCUS` log(1 - q)) with q = max(p - `MARGIN`, 0) (Ridnik et
    al. 2021, "Asymmetric Loss for Multi-Label Classification").
    """
    from keras import ops

    shifted = ops.maximum(probabilities - MARGIN, 0)
    positive, _ = _log_losses(probabilities)
    _, negative = _log_losses(shifted)
    losses = targets * positive + (1 - targets) * ops.power(shifted, FOCUS) * negative
    return _mean(ops.mean(losses, axis=-1), sample_weight)


def _log_losses(probabilities: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """Return -log p and -log(1 - p), finite for every p: Keras takes the logits where it knows them, or else clips."""
    from keras import ops

    positive = ops.binary_crossentropy(ops.ones_like(probabilities), probabilities)
    return positive, ops.binary_crossentropy(ops.zeros_like(probabilities), probabilities)


def _mean(rows: KerasTensor, sample_weight: KerasTensor | None) -> KerasTensor:
    from keras import ops

    return ops.mean(rows if sample_weight is None else rows * sample_weight)


BINARY_CROSSENTROPY = Loss(binary_crossentropy, labels=("many",), options=("label_smoothing", "positive_weights"))
CATEGORICAL_CROSSENTROPY = Loss(
    partial(keras_loss, name="CategoricalCrossentropy"), labels=("one",), options=("label_smoothing",)
)
FOCAL = Loss(partial(keras_loss, name="BinaryFocalCrossentropy", gamma=2.0), labels=("many",), options=("label_smoothing",))
ASYMMETRIC = Loss(asymmetric, labels=("many",))
SOFT_F1 = Loss(soft_f1)
LOVASZ = Loss(lovasz)
SMOOTH_L1 = Loss(partial(keras_loss, name="Huber"))  # of numbers in [0, 1]: half the squared difference
