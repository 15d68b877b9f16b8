"""The networks by name, new and saved."""

import zipfile
from pathlib import Path

import keras

from hpa.errors import BadInput
from hpa.models.gapnet import gapnet, gapnet_fcn
from hpa.models.parallel_kernels import parallel_kernels
from hpa.models.variants import VARIANTS, require_size


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


def load(path: Path, compile: bool = False) -> keras.Model:
    """Return a saved network, compiled as it was saved if asked for.

    Raises:
        BadInput: if the file is absent or damaged.
    """
    try:
        return keras.saving.load_model(path, compile=compile)
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path}: absent or damaged ({reason}); delete the run folder and train it again") from error
