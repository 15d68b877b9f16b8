"""The networks by name, new and saved."""

import zipfile
from pathlib import Path

import keras

from hpa.errors import BadInput
from hpa.models.alexnet import alexnet, load_state_dict
from hpa.models.backbones import backbone
from hpa.models.cellnet import cellnet
from hpa.models.gapnet import gapnet, gapnet_fcn
from hpa.models.parallel_kernels import parallel_kernels
from hpa.models.radial_basis import RadialBasis
from hpa.models.variants import BACKBONES, VARIANTS, Topology, require_size


def build(
    model: str,
    variant: int | None,
    size: int,
    channels: int,
    classes: int,
    output: str = "sigmoid",
    activation: str = "relu",
    topology: Topology | None = None,
    weights: str | None = None,
) -> keras.Model:
    """Return a new, uncompiled network.

    Args:
        model: a name in `hpa.models.variants.MODELS`.
        variant: 0 to 7 for the networks that have variants, None for the others.
        size: side of the square images in pixels.
        channels: channels of the images.
        classes: number of outputs.
        output: `"sigmoid"` for many labels, `"softmax"` for one.
        activation: Keras' name of the activation inside; the backbones have their own.
        topology: filters, blocks, kernel and dropout of a CellNet.
        weights: a file of weights for AlexNet or a backbone, or "imagenet" for a backbone; None for new weights.

    Raises:
        BadInput: if the images are too small for the network's convolutions or the weights do not fit.
    """
    require_size(model, variant, size)
    if model in BACKBONES:
        return backbone(model, size, channels, classes, output, weights)
    if model == "alexnet":
        network = alexnet(size, channels, classes, output, activation)
        if weights:
            load_state_dict(network, Path(weights))
        return network
    if model == "cellnet":
        return cellnet(channels, classes, output, topology, activation)
    if model == "parallel-kernels":
        return parallel_kernels(size, channels, classes, output, activation)
    network = {"gapnet": gapnet, "gapnet-fcn": gapnet_fcn}[model]
    return network(VARIANTS[variant], size, channels, classes, output, activation)


def load(path: Path, compile: bool = False) -> keras.Model:
    """Return a saved network, compiled as it was saved if asked for.

    Raises:
        BadInput: if the file cannot be read or is damaged.
    """
    try:
        zipfile.ZipFile(path).close()  # Keras says of a file that is no archive that it is absent
        return keras.saving.load_model(path, custom_objects={"RadialBasis": RadialBasis}, compile=compile)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); train the run, or restore the file") from error
    except (ValueError, OSError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise BadInput(f"{path}: damaged ({reason}); delete the run folder and train it again") from error
