"""Optimizers with a learning rate for each layer.

Keras' `MultiOptimizer` has no learning rate that a schedule could set, and takes an optimizer for each rate.
"""

from typing import Any

import keras

from hpa.errors import BadInput
from hpa.training.transfer import convolutional_layers


class Layerwise:
    """What is added to a Keras optimizer: `rates`, the share of the learning rate for variables by their paths; else 1."""

    def __init__(self, *arguments: Any, rates: dict[str, float], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.rates = rates

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update a variable by its own rate. It may be the backend's, which has no path."""
        path = self._trainable_variables[self._get_variable_index(variable)].path  # type: ignore[attr-defined]
        super().update_step(gradient, variable, learning_rate * self.rates.get(path, 1.0))  # type: ignore[misc]

    def get_config(self) -> dict[str, Any]:
        """Return what the optimizer is made from, so that Keras can save it."""
        return super().get_config() | {"rates": self.rates}  # type: ignore[misc]


LAYERWISE = {
    base: keras.saving.register_keras_serializable("hpa")(type(f"Layerwise{base.__name__}", (Layerwise, base), {}))
    for base in (keras.optimizers.Adam, keras.optimizers.AdamW, keras.optimizers.SGD)
}


def layerwise(optimizer: keras.Optimizer, model: keras.Model, first: float) -> keras.Optimizer:
    """Return an optimizer whose rates rise geometrically from the network's first layer to its last before the dense part.

    The first layer has `first` times the optimizer's own rate, the dense part all of it. Decoupled weight decay (AdamW) has
    that for all layers.

    Raises:
        BadInput: for an optimizer other than Keras' Adam, AdamW and SGD.
    """
    # Under PyTorch Keras makes an instance of a subclass of its own.
    base = next((each for each in type(optimizer).__mro__ if each in LAYERWISE), None)
    if base is None:
        raise BadInput(f"first_layer_rate {first}: is for adam, adamw and sgd; choose one of them", "first_layer_rate")
    layers = convolutional_layers(model)
    rates = {
        variable.path: first ** (1 - place / len(layers))
        for place, layer in enumerate(layers)
        for variable in layer.variables
    }
    return LAYERWISE[base].from_config(optimizer.get_config() | {"rates": rates})
