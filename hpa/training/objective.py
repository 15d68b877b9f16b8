"""What training minimises: a loss by its name, or two of them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
from keras import KerasTensor, ops

from hpa.registry import LOSSES
from hpa.settings import parse_loss
from hpa.training.distribution import of_all_devices


@keras.saving.register_keras_serializable("hpa")
class NamedLoss(keras.losses.Loss):
    """A loss, or the blend of two, as `hpa.settings.parse_loss` reads it.

    On several devices it is that of the whole batch, which for a soft F1 is more than the mean over the devices.
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

    def __call__(self, y_true: KerasTensor, y_pred: KerasTensor, sample_weight: KerasTensor | None = None) -> KerasTensor:
        """Return what a device adds to the loss of a batch, a scalar, from its tensors [B, classes], [B, classes] and [B].

        Keras' own call can only weigh the rows of a mean. Here the weights go to `call`, as one more column of the targets;
        Keras divides what comes back by the number of devices where it adds up the devices' gradients.
        """
        weights = ops.ones_like(y_pred[:, :1]) if sample_weight is None else ops.reshape(sample_weight, (-1, 1))
        columns = [ops.cast(each, self.dtype) for each in (y_true, weights)]
        return super().__call__(ops.concatenate(columns, axis=1), y_pred)

    def call(self, y_true: KerasTensor, y_pred: KerasTensor) -> KerasTensor:
        """Return the loss of the batch of all devices, float32 [1]; the last column of the targets are weights."""
        targets, probabilities = of_all_devices(y_true, y_pred)
        return ops.reshape(self.value(targets[:, :-1], probabilities, targets[:, -1]), (1,))

    def value(self, targets: KerasTensor, probabilities: KerasTensor, weights: KerasTensor | None = None) -> KerasTensor:
        """Return the loss of some rows, a scalar, undivided."""
        targets, probabilities = (ops.convert_to_tensor(each, self.dtype) for each in (targets, probabilities))
        return sum(share * part(targets, probabilities, weights) for share, part in self.parts)

    def get_config(self) -> dict[str, Any]:
        """Return what the loss is made from, so that Keras can save it with a model."""
        return self.config
