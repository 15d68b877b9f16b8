"""A trained network in its parts: images to maps, maps to logits, and where in the image each position of a map lies."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
from keras import layers

from hpa.errors import BadInput
from hpa.hardware import jit_compile
from hpa.inference.predict import load_run
from hpa.models.catalog import in_float32
from hpa.registry import NETWORKS
from hpa.runs.folder import read_settings

# Layers that, in inference, are linear in their inputs but for a constant, piece by piece; activations are looked at.
PIECEWISE_LINEAR = (
    layers.InputLayer, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D, layers.MaxPooling2D,
    layers.AveragePooling2D, layers.Concatenate, layers.Flatten, layers.Dropout, layers.BatchNormalization, layers.Dense,
    layers.Activation, layers.Add,
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where the positions of a map lie in the image, along either axis: the middles of what they see.

    Attributes:
        start: of the first one, in pixels; the middle of the first pixel is 0.
        step: pixels from one to the next.
        count: how many there are.
    """

    start: float
    step: float
    count: int

    @property
    def matrix(self) -> np.ndarray:
        """The matrix [2, 3] from positions to pixels, as OpenCV has it."""
        return np.array([[self.step, 0, self.start], [0, self.step, self.start]], np.float64)

    def scaled(self, factor: float) -> "Place":
        """Return the place in an image that is larger by a factor."""
        return Place((self.start + 0.5) * factor - 0.5, self.step * factor, self.count)


@dataclass(frozen=True)
class Parts:
    """A network cut where its last maps become features.

    Attributes:
        to_maps: compiled model from images uint8 [B, S, S, C] to a list of maps [B, h, w, c].
        head: model from these maps to logits [B, classes].
        places: where the positions of each map lie.
        pools: for each part of the features which map is pooled, and whether by its "average" or "maximum" over the image;
            none if the network flattens its maps.
        dense: model from the features [B, features] to logits; None if the network flattens its maps.
        exact: whether the head is piecewise linear, so that its logits are gradient times maps plus a constant.
    """

    to_maps: keras.Model
    head: keras.Model
    places: tuple[Place, ...]
    pools: tuple[tuple[int, str], ...]
    dense: keras.Model | None
    exact: bool

    def maps(self, images: np.ndarray) -> list[np.ndarray]:
        """Return the maps of images uint8 [B, S, S, C]."""
        found = self.to_maps.predict_on_batch(images)
        return [np.asarray(each) for each in (found if isinstance(found, list | tuple) else [found])]


def cut(network: keras.Model, model: str, size: int, path: Path) -> Parts:
    """Return a network's parts, all in float32.

    Args:
        network: as its file holds it.
        model: its name in `NETWORKS`.
        size: side of its images in pixels.
        path: its file, for the message.

    Raises:
        BadInput: if it has other layers than networks of that name.
    """
    network = in_float32(network)
    name, last = NETWORKS[model].feature_layer, network.layers[-1]
    if name not in [layer.name for layer in network.layers] or not isinstance(last, layers.Activation):
        raise BadInput(f"{path}: is no {model}, as it has no layer {name} or no activation at its end; restore the file")
    features = network.get_layer(name)
    sources = _inputs(features) if isinstance(features, layers.Concatenate) else [features.output]
    pooling = [source._keras_history.operation for source in sources]
    kinds = {layers.GlobalAveragePooling2D: "average", layers.GlobalMaxPooling2D: "maximum"}
    if all(type(layer) in kinds for layer in pooling):
        maps = list({id(layer.input): layer.input for layer in pooling}.values())
        number = {id(each): place for place, each in enumerate(maps)}
        pools = tuple((number[id(layer.input)], kinds[type(layer)]) for layer in pooling)
        dense = keras.Model(features.output, last.input)
    else:
        images = [layer for layer in network.layers if len(getattr(layer.output, "shape", ())) == 4]
        maps, pools, dense = [images[-1].output], (), None
    places = _places(network, size)
    to_maps = keras.Model(network.input, maps)
    to_maps.compile(jit_compile=jit_compile())
    head = keras.Model(maps, last.input)
    return Parts(to_maps, head, tuple(places[id(each)] for each in maps), pools, dense, all(map(_is_linear, head.layers)))


def cut_run(folder: Path) -> Parts:
    """Return the parts of a run's network, see `cut`."""
    settings = read_settings(folder)
    return cut(load_run(folder), settings.model, settings.size, folder / "model.keras")


def gradients(head: keras.Model, maps: list[np.ndarray], weights: np.ndarray) -> list[np.ndarray]:
    """Return the gradients of the sum of weighted logits with respect to the maps, in the maps' shapes.

    Args:
        head: model from maps to logits [B, classes].
        maps: float32 arrays [B, h, w, c].
        weights: float32 array [B, classes].
    """
    backend = keras.backend.backend()

    def total(inputs: list[Any]) -> Any:
        return keras.ops.sum(head(inputs, training=False) * weights)

    if backend == "tensorflow":
        import tensorflow as tf

        tensors = [tf.constant(each) for each in maps]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            result = total(tensors)
        return [np.asarray(each) for each in tape.gradient(result, tensors)]
    if backend == "jax":
        import jax

        return [np.asarray(each) for each in jax.grad(total)([jax.numpy.asarray(each) for each in maps])]
    tensors = [keras.ops.convert_to_tensor(each).requires_grad_() for each in maps]
    total(tensors).backward()
    return [keras.ops.convert_to_numpy(each.grad) for each in tensors]


def onto_image(values: np.ndarray, place: Place, size: int) -> np.ndarray:
    """Spread a signed map over the image: bilinear, zero beyond the outermost positions; its sum and its signs are kept.

    Args:
        values: float array [h, w].
        place: where its positions lie.
        size: side of the image in pixels.

    Returns:
        float64 array [size, size].
    """
    spread = np.zeros((size, size))
    for sign in (1, -1):
        part = np.maximum(sign * values, 0).astype(np.float32)
        shown = cv2.warpAffine(part, place.matrix, (size, size), flags=cv2.INTER_LINEAR).astype(np.float64)
        if shown.any():
            spread += sign * shown * (part.sum(dtype=np.float64) / shown.sum())
    return spread


def _inputs(layer: keras.Layer) -> list[Any]:
    return list(layer.input) if isinstance(layer.input, list | tuple) else [layer.input]


def _is_linear(layer: keras.Layer) -> bool:
    function = getattr(getattr(layer, "activation", None), "__name__", "linear")
    return isinstance(layer, PIECEWISE_LINEAR) and function in ("linear", "relu")


def _places(network: keras.Model, size: int) -> dict[int, Place]:
    """Return where the positions of each layer's output of four dimensions lie, by the identity of that output."""
    found: dict[int, Place] = {}
    for layer in network.layers:  # in the order of the data
        shape: Any = getattr(layer.output, "shape", ())
        if len(shape) != 4:
            continue
        before = None if isinstance(layer, layers.InputLayer) else found.get(id(_inputs(layer)[0]))
        found[id(layer.output)] = _place_after(layer, before, shape[1]) if before else Place(0, 1, size)
    return found


def _place_after(layer: keras.Layer, before: Place, count: int | None) -> Place:
    window = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if window and not isinstance(layer, layers.GlobalAveragePooling2D | layers.GlobalMaxPooling2D):
        reach = (window[0] - 1) * (getattr(layer, "dilation_rate", None) or (1,))[0]
        stride = int(np.ravel(layer.strides)[0])
        after = -(-before.count // stride) if layer.padding == "same" else (before.count - reach - 1) // stride + 1
        padding = max((after - 1) * stride + reach + 1 - before.count, 0) // 2 if layer.padding == "same" else 0
        return Place(before.start + (reach / 2 - padding) * before.step, before.step * stride, after)
    if isinstance(layer, layers.ZeroPadding2D):
        first, last = layer.padding[0]
        return Place(before.start - first * before.step, before.step, before.count + first + last)
    if count in (None, before.count):
        return before
    ratio = before.count / count  # resized
    return Place(before.start + (ratio - 1) / 2 * before.step, before.step * ratio, count)
