"""What a name in the settings stands for: networks, losses, augmentations and the like, one line each.

A name leads to a record, "module:attribute", that is loaded when it is asked for. A record says what it is for, so that
settings can be checked before Keras is loaded. To add one, write a file with the record and add its line here; a program of
your own calls `register`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from hpa.errors import BadInput

if TYPE_CHECKING:
    import keras
    import numpy as np

Record = TypeVar("Record")

# Names of layers begin with it from the pooled or flattened features on: fine-tuning trains one part and freezes the other.
DENSE_PART = "dense_part_"


def load(place: str) -> Any:
    """Return what is at a place, "module:attribute"."""
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)


def lazily(place: str) -> Callable[..., Any]:
    """Return a function that loads the one at a place, "module:attribute", when it is called.

    >>> lazily("math:sqrt")(9)
    3.0
    """

    def call(*arguments: Any, **named: Any) -> Any:
        return load(place)(*arguments, **named)

    return call


class Registry(Mapping[str, Record], Generic[Record]):
    """Records by name. Names are known without loading a record.

    >>> numbers = Registry("number", {"pi": "math:pi"})
    >>> numbers.register("two", 2.0)
    >>> list(numbers), numbers["pi"] + numbers["two"]
    (['pi', 'two'], 5.141592653589793)
    """

    def __init__(self, kind: str, entries: Mapping[str, str | Record]) -> None:
        """Take what the records are called in messages, and each record or where it is, "module:attribute"."""
        self.kind = kind
        self._entries = dict(entries)

    def __getitem__(self, name: str) -> Record:
        """Return a record; KeyError if there is none, see `find`."""
        entry = self._entries[name]
        if isinstance(entry, str):
            entry = self._entries[name] = cast(Record, load(entry))
        return entry

    def __iter__(self) -> Iterator[str]:
        """Go through the names in the order of their lines."""
        return iter(self._entries)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is such a record, without loading it."""
        return name in self._entries

    def find(self, name: str) -> Record:
        """Return a record.

        Raises:
            BadInput: if there is none of that name; the text lists the names.
        """
        if name not in self:
            raise BadInput(f"no {self.kind} {name}; expected one of {', '.join(self)}")
        return self[name]

    def register(self, name: str, entry: str | Record) -> None:
        """Add a record, or where it is, "module:attribute".

        Raises:
            ValueError: if the name is taken.
        """
        if name in self:
            raise ValueError(f"Invalid `name`. Expected a new {self.kind}. Received: name={name!r}")
        self._entries[name] = entry


@dataclass(frozen=True)
class Network:
    """A network.

    Attributes:
        build: function of size, channels, classes and output ("softmax" or "sigmoid"), and of `arguments` by name. It
            returns an uncompiled Keras model from uint8 images [B, size, size, channels] to float32 probabilities
            [B, classes].
        arguments: the settings of this network that `build` takes, such as "variant" or "activation".
        smallest_size: the smallest side of an image in pixels.
        variant_sizes: the same for each variant, if there are variants.
        channels: the numbers of channels that it takes; None for any.
        any_size: whether one model takes images of any size, so that images may grow while it learns.
        feature_layer: name of the layer whose outputs an SVM head takes. Where a network flattens its last maps instead of
            pooling them, that is the last hidden layer.
        fused: whether its batch normalisation of images is `hpa.models.normalization`'s, not Keras'.
    """

    build: Callable[..., keras.Model]
    arguments: tuple[str, ...] = ()
    smallest_size: int = 32
    variant_sizes: tuple[int, ...] = ()
    channels: tuple[int, ...] | None = None
    any_size: bool = False
    feature_layer: str = f"{DENSE_PART}features"
    fused: bool = True

    @property
    def options(self) -> tuple[str, ...]:
        """The settings that not all networks take and that this one takes."""
        return (*self.arguments, *(("progressive_resizing",) if self.any_size else ()))


NETWORKS: Registry[Network] = Registry(
    "network",
    {
        "gapnet": "hpa.models.gapnet:GAPNET",
        "gapnet-fcn": "hpa.models.gapnet:GAPNET_FCN",
        "parallel-kernels": "hpa.models.parallel_kernels:PARALLEL_KERNELS",
        "cellnet": "hpa.models.cellnet:CELLNET",
        "alexnet": "hpa.models.alexnet:ALEXNET",
        "mobilenet-v2": "hpa.models.backbones:MOBILENET_V2",
        "resnet50-v2": "hpa.models.backbones:RESNET50_V2",
        "densenet121": "hpa.models.backbones:DENSENET121",
        "efficientnet-v2-b0": "hpa.models.backbones:EFFICIENTNET_V2_B0",
        "inception-resnet-v2": "hpa.models.backbones:INCEPTION_RESNET_V2",
        "vgg16": "hpa.models.backbones:VGG16",
        "convnext-tiny": "hpa.models.backbones:CONVNEXT_TINY",
    },
)


@dataclass(frozen=True)
class Loss:
    """A loss.

    Attributes:
        function: of targets and probabilities, float tensors [B, classes], of `sample_weight`, a float tensor [B] or None,
            and of `options` by name. It returns a scalar tensor.
        labels: the tasks that it is for, by their labels.
        options: what it takes of "label_smoothing", a share, and "positive_weights", a number for each class or None.
    """

    function: Callable[..., keras.KerasTensor]
    labels: tuple[str, ...] = ("one", "many")
    options: tuple[str, ...] = ()


LOSSES: Registry[Loss] = Registry(
    "loss",
    {
        "binary-crossentropy": "hpa.training.losses:BINARY_CROSSENTROPY",
        "categorical-crossentropy": "hpa.training.losses:CATEGORICAL_CROSSENTROPY",
        "focal": "hpa.training.losses:FOCAL",
        "asymmetric": "hpa.training.losses:ASYMMETRIC",
        "soft-f1": "hpa.training.losses:SOFT_F1",
        "smooth-l1": "hpa.training.losses:SMOOTH_L1",
    },
)

# Takes an image, uint8 [H, W, C], and where its random numbers come from; returns a varied one of the same shape and type.
Vary = Callable[["np.ndarray", "np.random.SeedSequence"], "np.ndarray"]


@dataclass(frozen=True)
class Augmentation:
    """A way to vary images.

    Attributes:
        prepare: returns the function that varies an image. It is called for each batch, so that what holds the state of its
            random numbers, as imgaug's augmenters do, is not shared among threads.
        colours: whether it is for images of three channels only: red, green and blue.
    """

    prepare: Callable[[], Vary]
    colours: bool = False


AUGMENTATIONS: Registry[Augmentation] = Registry(
    "augmentation",
    {
        "report": "hpa.data.policies:REPORT",
        "cells": "hpa.data.policies:CELLS",
        "alexnet": "hpa.data.policies:ALEXNET",
        "crop": "hpa.data.policies:CROP",
        "rotation": "hpa.data.policies:ROTATION",
        "flip": "hpa.data.policies:FLIP",
        "hue": "hpa.data.policies:HUE",
        "saturation": "hpa.data.policies:SATURATION",
        "exposure": "hpa.data.policies:EXPOSURE",
        "aspect": "hpa.data.policies:ASPECT",
        "blur": "hpa.data.policies:BLUR",
        "none": "hpa.data.policies:NONE",
    },
)

# Takes images uint8 [B, S, S, C], targets float32 [B, classes] and a generator; returns new arrays like the first two.
Mixing = Callable[["np.ndarray", "np.ndarray", "np.random.Generator"], tuple["np.ndarray", "np.ndarray"]]
MIXINGS: Registry[Mixing] = Registry(
    "mixing",
    {
        "none": "hpa.data.mixing:none",
        "mix-up": "hpa.data.mixing:mix_up",
        "cutmix": "hpa.data.mixing:cutmix",
        "mosaic": "hpa.data.mixing:mosaic",
    },
)

# Each takes the learning rate, or its schedule, and by name the other arguments that all of Keras' optimizers have.
OPTIMIZERS: Registry[Callable[..., keras.Optimizer]] = Registry(
    "optimizer",
    {
        "adam": "hpa.training.optimizers:adam",
        "adamw": "hpa.training.optimizers:adamw",
        "sgd": "hpa.training.optimizers:sgd",
    },
)


@dataclass(frozen=True)
class Schedule:
    """A schedule of the learning rate.

    Attributes:
        end: share of the rate that a fall as a cosine leaves at the last step; 1 for no fall.
        plateau: "loss" or "score" if the rate falls to a tenth each time that this one of the validation set no longer
            improves; None for no such fall.
    """

    end: float = 1.0
    plateau: str | None = None

    @property
    def warms_up(self) -> bool:
        """Whether the rate may rise in the first epochs."""
        return self.plateau is None


SCHEDULES: Registry[Schedule] = Registry(
    "schedule",
    {
        "constant": Schedule(),
        "cosine": Schedule(end=1e-4),
        "plateau": Schedule(plateau="loss"),
        "plateau-score": Schedule(plateau="score"),
    },
)

# The exponent of a class' inverse frequency, see `hpa.data.sampling`.
WEIGHTINGS: Registry[float] = Registry("weighting", {"none": 0.0, "square-root": 0.5, "inverse-frequency": 1.0})


def require_size(model: str, variant: int | None, size: int) -> None:
    """Raise BadInput if images of `size` pixels are too small for a network."""
    network = NETWORKS.find(model)
    smallest = network.smallest_size if variant is None else network.variant_sizes[variant]
    if size < smallest:
        named = model if variant is None else f"{model} variant {variant}"
        raise BadInput(f"size {size} is too small for {named}, whose convolutions need at least {smallest} pixels")


def require_network(model: str, variant: int | None, size: int, channels: int) -> None:
    """Raise BadInput if a network does not take images of `size` pixels and so many channels."""
    require_size(model, variant, size)
    allowed = NETWORKS[model].channels
    if allowed and channels not in allowed:
        listed = " or ".join(map(str, allowed))
        raise BadInput(f"{model} takes images of {listed} channels, not {channels}; choose another network", "model")
