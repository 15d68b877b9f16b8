"""The networks by name."""

import keras

from hpa.errors import BadInput
from hpa.models.gapnet import gapnet, gapnet_fcn
from hpa.models.parallel_kernels import SMALLEST_SIZE, parallel_kernels
from hpa.models.variants import VARIANTS


def build(model: str, variant: int | None, size: int, channels: int, classes: int) -> keras.Model:
    """Return a new, uncompiled network.

    Args:
        model: a name in `hpa.models.variants.MODELS`.
        variant: 0 to 7 for the networks that have variants, None for the others.
        size: side of the square images in pixels.
        channels: channels of the images.
        classes: number of sigmoid outputs.

    Raises:
        BadInput: if the images are too small for the network's convolutions.
    """
    require_size(model, variant, size)
    if model == "parallel-kernels":
        return parallel_kernels(size, channels, classes)
    network = {"gapnet": gapnet, "gapnet-fcn": gapnet_fcn}[model]
    return network(VARIANTS[variant], size, channels, classes)


def require_size(model: str, variant: int | None, size: int) -> None:
    """Raise BadInput if images of `size` pixels are too small for the convolutions of a network."""
    smallest = SMALLEST_SIZE if variant is None else VARIANTS[variant].smallest_size
    if size < smallest:
        named = model if variant is None else f"{model} variant {variant}"
        raise BadInput(f"size {size} is too small for {named}, whose convolutions need at least {smallest} pixels")
