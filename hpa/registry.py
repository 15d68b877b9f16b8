"""The names in the settings and what they stand for: networks, losses, augmentations and the like.

A name leads to a record, "module:attribute", which is loaded on first use. Records say which settings fit them, so settings
are checked before Keras is loaded. To add one, write a file with the record and add its name here. Your own program calls
`register`.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar, cast

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


def lazily(place: str, **named: Any) -> Callable[..., Any]:
    """Return a function that loads the one at a place, "module:attribute", on each call, and passes it further arguments.

    >>> lazily("math:sqrt")(9), lazily("builtins:int", base=2)("11"), lazily("builtins:int")("11", base=3)
    (3.0, 3, 4)
    """
    return lambda *arguments, **more: load(place)(*arguments, **named, **more)


class Registry(UserDict[str, Record]):
    """Records by name. Names are known without loading a record.

    >>> numbers = Registry("number", {"pi": "math:pi"})
    >>> numbers.register("two", 2.0)
    >>> list(numbers), numbers["pi"] + numbers["two"]
    (['pi', 'two'], 5.141592653589793)
    """

    def __init__(self, kind: str, entries: Mapping[str, Any]) -> None:
        """Take what the records are called in messages, and each record or where it is, "module:attribute"."""
        super().__init__(entries)
        self.kind = kind

    def __getitem__(self, name: str) -> Record:
        """Return a record; KeyError if there is none, see `find`."""
        entry = self.data[name]
        if isinstance(entry, str):
            entry = self.data[name] = load(entry)
        return entry

    def find(self, name: str) -> Record:
        """Return a record; BadInput if there is none of that name, with the names that there are."""
        if name not in self:
            raise BadInput(f"no {self.kind} {name}; expected one of {', '.join(self)}")
        return self[name]

    def register(self, name: str, entry: str | Record) -> None:
        """Add a record, or where it is, "module:attribute"; ValueError if the name is taken."""
        if name in self:
            raise ValueError(f"Invalid `name`. Expected a new {self.kind}. Received: name={name!r}")
        self.data[name] = cast(Record, entry)


def _records(module: str, *names: str) -> dict[str, str]:
    """Return where the records of some names are: "soft-f1" is `SOFT_F1` in its module."""
    return {name: f"{module}:{name.upper().replace('-', '_')}" for name in names}


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
        batch_normalised: whether it has batch normalisation of images.
        fused: whether its batch normalisation of images is `hpa.models.normalization`'s, not Keras'.
    """

    build: Callable[..., keras.Model]
    arguments: tuple[str, ...] = ()
    smallest_size: int = 32
    variant_sizes: tuple[int, ...] = ()
    channels: tuple[int, ...] | None = None
    any_size: bool = False
    feature_layer: str = f"{DENSE_PART}features"
    batch_normalised: bool = True
    fused: bool = True

    @property
    def options(self) -> tuple[str, ...]:
        """The settings that not all networks take and that this one takes."""
        return (*self.arguments, *(("progressive_resizing",) if self.any_size else ()))


KERAS_NETWORKS = (
    "mobilenet-v2", "resnet50-v2", "densenet121", "efficientnet-v2-b0", "inception-resnet-v2", "convnext-tiny"
)  # fmt: skip
NETWORKS: Registry[Network] = Registry(
    "network",
    {
        **_records("hpa.models.gapnet", "gapnet", "gapnet-fcn"),
        **_records("hpa.models.parallel_kernels", "parallel-kernels"),
        **_records("hpa.models.cellnet", "cellnet"),
        **_records("hpa.models.alexnet", "alexnet", "alexnet-antialiased"),
        **_records("hpa.models.backbones", *KERAS_NETWORKS),
        **_records("hpa.models.vgg16", "vgg16"),
        **_records("hpa.models.efficientnet_lite0", "efficientnet-lite0"),
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


CROSSENTROPIES = "binary-crossentropy", "categorical-crossentropy"
LOSSES: Registry[Loss] = Registry(
    "loss", _records("hpa.training.losses", *CROSSENTROPIES, "focal", "asymmetric", "soft-f1", "lovasz", "smooth-l1")
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
        version: raised when the same seed gives other images than before, so that no half-trained run goes on with them.
    """

    prepare: Callable[[], Vary]
    colours: bool = False
    version: int = 1


@dataclass(frozen=True)
class Warp:
    """A way to vary images: one affine map of all channels, then grey levels, then noise.

    Attributes:
        draw: function of a generator, a count n, height and width in pixels. It returns how n images are varied, an array
            [n] of `hpa.data.policies.DRAW`.
        border: what moves into view: "reflect" (the mirror image, the edge pixel once), "symmetric" (twice) or "constant"
            (black).
        cubic: whether pixels are interpolated by cubes instead of bilinearly.
        colours: as for `Augmentation`.
        version: as for `Augmentation`.
    """

    draw: Callable[[np.random.Generator, int, int, int], np.ndarray]
    border: str = "reflect"
    cubic: bool = False
    colours: bool = False
    version: int = 2  # 1 was one random state an item


POLICIES = (
    "report", "cells", "heavy", "alexnet", "crop", "rotation", "flip", "hue", "saturation", "exposure", "aspect", "blur",
    "none",
)  # fmt: skip
AUGMENTATIONS: Registry[Augmentation | Warp] = Registry("augmentation", _records("hpa.data.policies", *POLICIES))

# Takes a generator, the number B of images in a batch and their side in pixels; returns what is painted over each of them,
# an array [k, B] of `hpa.data.mixing.LAYER`.
Mixing = Callable[["np.random.Generator", int, int], "np.ndarray"]
MIXINGS: Registry[Mixing] = Registry(
    "mixing", {name: f"hpa.data.mixing:{name.replace('-', '_')}" for name in ("none", "mix-up", "cutmix", "mosaic")}
)

# Each takes the learning rate, or its schedule, and by name the other arguments that all of Keras' optimizers have.
OPTIMIZERS: Registry[Callable[..., keras.Optimizer]] = Registry(
    "optimizer",
    {
        "adam": lazily("keras.optimizers:Adam"),
        "adamw": "hpa.training.optimizers:adamw",
        "sgd": partial(lazily("keras.optimizers:SGD"), momentum=0.9),
    },
)


@dataclass(frozen=True)
class Schedule:
    """A schedule of the learning rate.

    Attributes:
        end: share of the rate that a fall as a cosine leaves at the last step; 1 for no fall.
        plateau: "loss" or "score" if the rate falls to a tenth each time that this one of the validation set no longer
            improves; None for no such fall: then the rate may rise in the first epochs.
    """

    end: float = 1.0
    plateau: str | None = None


FALLS = {"cosine": Schedule(end=1e-4), "plateau": Schedule(plateau="loss"), "plateau-score": Schedule(plateau="score")}
SCHEDULES: Registry[Schedule] = Registry("schedule", {"constant": Schedule()} | FALLS)

# The exponent of a class' inverse frequency, see `hpa.data.sampling`.
WEIGHTINGS: Registry[float] = Registry("weighting", {"none": 0.0, "square-root": 0.5, "inverse-frequency": 1.0})


def require_network(model: str, variant: int | None, size: int, channels: int | None = None) -> None:
    """Raise BadInput if a network does not take images of `size` pixels, or so many channels."""
    network = NETWORKS.find(model)
    smallest = network.smallest_size if variant is None else network.variant_sizes[variant]
    if size < smallest:
        named = model if variant is None else f"{model} variant {variant}"
        raise BadInput(f"size {size} is too small for {named}, whose convolutions need at least {smallest} pixels")
    if channels and network.channels and channels not in network.channels:
        listed = " or ".join(map(str, network.channels))
        raise BadInput(f"{model} takes images of {listed} channels, not {channels}; choose another network", "model")
