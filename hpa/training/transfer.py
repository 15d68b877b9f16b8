"""How a network that starts from weights learned elsewhere goes on learning: which layers, and from which epoch on.

Gradual unfreezing is that of Howard and Ruder, "Universal language model fine-tuning for text classification", ACL 2018.
"""

from collections.abc import Iterator
from dataclasses import replace

import keras

from hpa.registry import DENSE_PART, SCHEDULES
from hpa.settings import Settings


def convolutional_layers(model: keras.Model) -> list[keras.Layer]:
    """Return the layers with weights before the dense part, from the images on."""
    return [layer for layer in model.layers if layer.weights and not layer.name.startswith(DENSE_PART)]


def freeze(model: keras.Model, part: str, share: float = 1.0, keep_statistics: bool = False) -> None:
    """Let only a part of a network learn; takes effect when it is compiled.

    Args:
        model: the network.
        part: "all", "convolutional" or "dense".
        share: of the convolutional layers the last so many learn, if the part has them.
        keep_statistics: whether batch normalisation of images keeps its statistics, and its scale and offset too: frozen, it
            uses them instead of a batch's.
    """
    for layer in model.layers:
        layer.trainable = part == "all" or (part == "dense") == layer.name.startswith(DENSE_PART)
    convolutional = convolutional_layers(model)
    frozen = convolutional[: round((1 - share) * len(convolutional))]
    if keep_statistics:
        frozen += [layer for layer in convolutional if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in frozen:
        layer.trainable = False


def phases(settings: Settings, done: int) -> Iterator[tuple[int, int, float, Settings | None]]:
    """Yield the parts of a training between which layers are unfrozen, from its first unfinished epoch on.

    Returns:
        For each part the first epoch that is left and the epoch after its last; the share of the convolutional layers that
        learn; and the settings of its new optimizer, None if it goes on with the one it has. Until all layers learn the rate
        is constant, and the schedule begins then.
    """
    rising = settings.unfreezing
    for epoch in range(done, rising):
        constant = settings.schedule if SCHEDULES[settings.schedule].plateau else "constant"
        yield epoch, epoch + 1, epoch / rising, replace(settings, warm_up=0, schedule=constant)
    later = replace(settings, epochs=settings.epochs - rising) if done <= rising else None
    yield max(done, rising), settings.epochs, 1.0, later
