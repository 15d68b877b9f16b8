"""The moving average of a network's weights in their place, with the batch statistics that belong to it."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops


@contextmanager
def averaged(model: keras.Model, batches: Iterable[np.ndarray]) -> Iterator[None]:
    """Put the moving average of the weights, if the optimizer keeps one, in their place while the block runs.

    Batch normalisation meanwhile has the means and variances of that network on images as they are. Those that it met in
    training are another network's, on augmented images (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018, section 3.2).

    Args:
        model: a compiled model.
        batches: uint8 arrays [B, S, S, C] of images that the model learns from; the more they are, the truer the statistics.
    """
    if not model.optimizer.use_ema:
        yield
        return
    before = [ops.convert_to_numpy(variable) for variable in model.variables]
    try:
        model.optimizer.finalize_variable_values(model.trainable_variables)
        _measure(model, batches)
        yield
    finally:
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)


def _measure(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Let the moving means and variances of batch normalisation become the means of those of the batches."""
    normalising = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in normalising]
    for number, batch in enumerate(batches if normalising else ()):
        for layer in normalising:
            layer.momentum = number / (number + 1)
        model(batch, training=True)
    for layer, momentum in zip(normalising, momenta, strict=True):
        layer.momentum = momentum
