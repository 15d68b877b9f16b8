"""What training minimises: a loss by its name, or two of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
from keras import KerasTensor, ops

from hpa.registry import LOSSES
from hpa.settings import parse_loss


@keras.saving.register_keras_serializable("hpa")
class NamedLoss(keras.losses.Loss):
    """A loss, or the blend of two, as `hpa.settings.parse_loss` reads it.

    It takes weights of rows by itself, since the soft F1 of a batch is more than a mean over its rows.
    """

    def __init__(self, loss: str, label_smoothing: float = 0.0, positive_weights: Sequence[float] | None = None) -> None:
        """Take the name, and the options that some losses have (see `hpa.registry.Loss`)."""
        super().__init__(name="loss")
        options = {"label_smoothing": label_smoothing, "positive_weights": positive_weights}
        self.config = {"loss": loss, **options}
        self.parts = []
        for name, share in parse_loss(loss).items():
            taken = {option: options[option] for option in LOSSES[name].options}
            self.parts.append((share, partial(LOSSES[name].function, **taken)))

    def __call__(
        self, targets: KerasTensor, probabilities: KerasTensor, sample_weight: KerasTensor | None = None
    ) -> KerasTensor:
        """Return the loss of a batch, a scalar, from tensors [B, classes], [B, classes] and [B]."""
        probabilities = ops.convert_to_tensor(probabilities)
        targets = ops.cast(targets, probabilities.dtype)
        return sum(share * part(targets, probabilities, sample_weight) for share, part in self.parts)

    def get_config(self) -> dict[str, Any]:
        """Return what the loss is made from, so that Keras can save it with a model."""
        return self.config
