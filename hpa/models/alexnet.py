"""AlexNet as torchvision lays it out, with the HEp-2 report's head, and the reading of torchvision's weights.

Layers: A. Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, as torchvision's `alexnet`
has them. The report puts a dense layer for its own classes behind the 1000 outputs for ImageNet.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpa.errors import BadInput, refuse
from hpa.files import require_plain
from hpa.registry import DENSE_PART, Network

if TYPE_CHECKING:
    import keras

SIDE = 224  # pixels, what the dense part's 9216 features need
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue, of pixels in [0, 1]

# torchvision's layers by name, and ours.
STATE_DICT_LAYERS = {f"features.{place}": f"convolution_{number}" for number, place in enumerate((0, 3, 6, 8, 10), 1)}
STATE_DICT_LAYERS |= {f"classifier.{place}": f"{DENSE_PART}dense_{number}" for number, place in enumerate((1, 4, 6), 1)}


def alexnet(
    size: int, channels: int, classes: int, output: str, activation: str = "relu", weights: str | None = None
) -> keras.Model:
    """Return the report's network, uncompiled; see `hpa.registry.Network` for the arguments.

    Its first layers cut the central 224 pixels out of larger images and enlarge smaller ones, repeat a grey channel three
    times, and normalise by ImageNet's mean and deviation. Torchvision's weights expect the activation "relu".

    Raises:
        BadInput: if the file of `weights` does not fit, see `load_state_dict`.
    """
    import keras
    from keras import layers

    images = layers.Input((size, size, channels), dtype="uint8")
    x = layers.CenterCrop(SIDE, SIDE)(images) if size >= SIDE else layers.Resizing(SIDE, SIDE)(images)
    if channels == 1:
        x = layers.Concatenate()([x, x, x])
    mean, deviation = np.array(IMAGENET_MEAN), np.array(IMAGENET_DEVIATION)
    x = layers.Rescaling((1 / 255 / deviation).tolist(), (-mean / deviation).tolist(), name="normalised")(x)

    # Keras' "same" would pad a stride of 4 with one row less at the top than at the bottom; torch pads 2 all round.
    x = layers.ZeroPadding2D(2)(x)
    x = layers.Conv2D(64, 11, strides=4, activation=activation, name="convolution_1")(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = layers.Conv2D(192, 5, padding="same", activation=activation, name="convolution_2")(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    for number, filters in ((3, 384), (4, 256), (5, 256)):
        x = layers.Conv2D(filters, 3, padding="same", activation=activation, name=f"convolution_{number}")(x)
    x = layers.MaxPooling2D(3, strides=2)(x)

    x = layers.Flatten(name=f"{DENSE_PART}features")(x)
    for number, units in ((1, 4096), (2, 4096), (3, 1000)):
        x = layers.Dropout(0.5, name=f"{DENSE_PART}dropout_{number}")(x)
        x = layers.Dense(units, activation=activation, name=f"{DENSE_PART}dense_{number}")(x)
    x = layers.Dropout(0.5, name=f"{DENSE_PART}dropout_4")(x)
    x = layers.Dense(classes, name=f"{DENSE_PART}dense_4")(x)
    x = layers.Activation(output, dtype="float32", name=f"{DENSE_PART}probabilities")(x)
    network = keras.Model(images, x, name="alexnet")
    if weights:
        load_state_dict(network, Path(weights))
    return network


def load_state_dict(model: keras.Model, path: Path) -> None:
    """Put torchvision's AlexNet weights into a network made by `alexnet`; its last layer keeps its own.

    The file is torchvision's `.pth` (or `.pt`), for which torch must be installed, or has the same arrays by the same names
    ("features.0.weight" to "classifier.6.bias") in an `.npz`. Nothing is changed unless every tensor is sound.

    Raises:
        BadInput: if the file cannot be read, or tensors are missing, surplus, misshapen or not finite.
    """
    tensors = _read(Path(path))
    variables: dict[str, keras.Variable] = {}
    for name, own in STATE_DICT_LAYERS.items():
        layer = model.get_layer(own)
        variables |= {f"{name}.weight": layer.kernel, f"{name}.bias": layer.bias}
    shapes = {name: _torch_shape(tuple(variable.shape)) for name, variable in variables.items()}
    faults = [f"{name} is missing" for name in shapes if name not in tensors]
    for name, tensor in tensors.items():
        if name not in shapes:
            faults.append(f"{name} is no tensor of AlexNet")
        elif tensor.shape != shapes[name]:
            faults.append(f"{name} has shape {tensor.shape}, expected {shapes[name]}")
        elif tensor.dtype.kind != "f" or not np.isfinite(tensor).all():
            faults.append(f"{name} holds values that are not finite floating-point numbers")
    refuse(f"{path}: not torchvision's AlexNet state dict (alexnet-owt-7be5be79.pth)", faults)
    for name, variable in variables.items():
        variable.assign(_keras_layout(tensors[name], tuple(variable.shape)))


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in torch of a variable that has `shape` in Keras: kernels begin with outputs, then inputs."""
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape[::-1]


def _keras_layout(tensor: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a torch tensor as Keras lays it out: `shape` is [height, width, input, output], [input, output] or [output]."""
    if len(shape) == 4:
        return tensor.transpose(2, 3, 1, 0)
    if shape == (9216, 4096):  # torch flattens the last map as [channel, row, column], Keras as [row, column, channel]
        return tensor.reshape(4096, 256, 6, 6).transpose(2, 3, 1, 0).reshape(shape)
    return tensor.T


def _read(path: Path) -> dict[str, np.ndarray]:
    require_plain(path)
    try:
        if path.suffix == ".npz":
            with np.load(path) as file:
                return {name: file[name] for name in file.files}
        if path.suffix not in (".pth", ".pt"):
            raise BadInput(f"{path}: expected a state dict as .pth or .pt, or its arrays as .npz")
        import torch

        tensors = torch.load(path, map_location="cpu", weights_only=True)
        return {name: tensor.detach().float().numpy() for name, tensor in tensors.items()}
    except (BadInput, MemoryError):
        raise
    except ImportError as error:
        fix = "pip install torch, or save the arrays as .npz where torch is installed"
        raise BadInput(f"{path}: torch is needed to read it ({error}); {fix}") from error
    except Exception as error:  # damaged files raise errors of many kinds in both readers
        reason = f"{error}".splitlines() or [type(error).__name__]
        raise BadInput(f"{path}: absent, damaged or not a state dict ({reason[0]}); download it again") from error


ALEXNET = Network(alexnet, ("activation", "weights"), channels=(1, 3), feature_layer=f"{DENSE_PART}dense_3")
