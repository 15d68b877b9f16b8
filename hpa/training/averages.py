"""The exponential moving average (EMA) of a network's weights, with batch statistics of its own.

Keras' callback `SwapEMAWeights` swaps the weights too, but leaves batch normalisation with the statistics of the others.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import keras
import numpy as np
from keras import ops


@contextmanager
def averaged(model: keras.Model, batches: Iterable[np.ndarray]) -> Iterator[None]:
    """Give a network the EMA of its weights while the block runs, if its optimizer keeps one.

    Batch normalisation then has the means and variances of this network on images without augmentation. Those from training
    are of other weights, on augmented images (Izmailov et al., "Averaging Weights Leads to Wider Optima and Better
    Generalization", UAI 2018, section 3.2).

    The model is compiled. The batches are uint8 arrays [B, S, S, C] of images that it learns from; the more they are, the
    truer the statistics.
    """
    if not model.optimizer.use_ema:
        yield
        return
    before = [ops.convert_to_numpy(variable) for variable in model.variables]
    try:
        model.optimizer.finalize_variable_values(model.trainable_variables)
        for variable in model.trainable_variables:  # under JAX it shares the average's buffer, which a prediction frees
            variable.assign(ops.convert_to_numpy(variable).copy())
        measure_statistics(model, batches)
        yield
    finally:
        for variable, value in zip(model.variables, before, strict=True):
            variable.assign(value)


def measure_statistics(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Let the moving means and variances of batch normalisation, unless frozen, become the means of those of the batches."""
    kinds = keras.layers.BatchNormalization
    normalising = [layer for layer in model.layers if isinstance(layer, kinds) and layer.trainable]
    momenta = [layer.momentum for layer in normalising]
    for number, batch in enumerate(batches if normalising else ()):
        for layer in normalising:
            layer.momentum = number / (number + 1)
        model(batch, training=True)
    for layer, momentum in zip(normalising, momenta, strict=True):
        layer.momentum = momentum
