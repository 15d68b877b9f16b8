"""Every setting of a run, written once.

The options of the commands, the checks of config.json and of presets, what a search varies, and the table of settings in the
documentation all come from the class `Settings`.
"""

import dataclasses
import math
import re
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, TypeVar

from annotated_types import Ge, Le, MinLen
from pydantic import AfterValidator, ConfigDict, Strict, StringConstraints, ValidationError
from pydantic.dataclasses import dataclass

from hpa.errors import BadInput, closest, refuse
from hpa.kinds import Count, FromZero, Level, OneOf, Portion, Positive, Seed, Share, Words, expected
from hpa.registry import AUGMENTATIONS, LOSSES, MIXINGS, NETWORKS, OPTIMIZERS, SCHEDULES, WEIGHTINGS
from hpa.stages import PARTS, STAGES

STATISTICS = ("learned", "kept", "renewed")
ACTIVATIONS = ("relu", "mish")  # inside the networks, by Keras' names
PRECISIONS = ("float32", "mixed_bfloat16")  # Keras' names
PLACES = ("host", "device")  # of augmentation
DEALT = ("train", "both")  # the sets that become folds

# How values look, for messages and the documentation; what numbers and names may be is read from their types.
LOSS_WORDS = f"one of {', '.join(LOSSES)}, or two of them as A+B or A+B:SHARE, where SHARE is B's, between 0 and 1"
RANGE_WORDS = "a list of [LOW, HIGH] with 0 <= LOW < HIGH <= 65535, or null, for each channel"


def parse_loss(text: str) -> dict[str, float]:
    """Return the losses that a setting names and their shares, which sum to 1.

    "A" is one of `LOSSES`, "A+B" the mean of two, and "A+B:0.3" has a share of 0.3 of B and 0.7 of A.

    >>> parse_loss("focal+soft-f1:0.25")
    {'focal': 0.75, 'soft-f1': 0.25}

    Raises:
        BadInput: if the text is none of these.
    """
    found = re.fullmatch(r"([a-z0-9-]+)(?:\+([a-z0-9-]+)(?::(0?\.\d*[1-9]\d*))?)?", text)
    names = [name for name in found.groups()[:2] if name] if found else []
    if not found or not set(names) <= LOSSES.keys() or len(names) != len(set(names)):
        raise BadInput(f"loss {text}: expected {LOSS_WORDS}")
    share = float(found[3] or 0.5)
    return dict(zip(names, (1 - share, share), strict=True)) if names[1:] else {text: 1.0}


@dataclasses.dataclass(frozen=True)
class About:
    """The words on a setting for people.

    Attributes:
        help: what it does.
        group: the heading that it stands under.
        unset: what None, or nothing, stands for.
        metavar: how its value looks in an option's help; None says that of its type.
    """

    help: str
    group: str
    unset: str = "none"
    metavar: str | None = None


@dataclasses.dataclass(frozen=True)
class Varied:
    """What a search tries for a setting: all names that it may be, or one of the following.

    Attributes:
        choices: names or numbers; the start's own is tried too.
        bounds: the lowest and the highest number.
        factor: numbers from a `factor`-th of the start's to `factor` times it, on a logarithmic scale.
        most: the highest of these.
    """

    choices: tuple[object, ...] = ()
    bounds: tuple[float, float] | None = None
    factor: float | None = None
    most: float = math.inf


def _check_loss(value: str) -> str:
    parse_loss(value)
    return value


def _check_interval(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] >= value[1]:
        raise ValueError
    return value


# JSON has lists where tuples are meant.
Counts = Annotated[tuple[Count, ...], MinLen(1), Strict(False)]
Interval = Annotated[tuple[Level, Level], Strict(False), AfterValidator(_check_interval)]
Ranges = Annotated[tuple[Interval | None, ...], MinLen(1), Strict(False), Words(RANGE_WORDS)]
Loss = Annotated[str, AfterValidator(_check_loss), Words(LOSS_WORDS)]
Text = Annotated[str, StringConstraints(pattern="^[^\0]+$"), Words("a text")]

MAIN, DATA, NETWORK, LEARNING = "most used", "data", "network", "learning"
RARE, AUGMENTATION, STAGE = "rare classes", "augmentation", "stage"
Class = TypeVar("Class", bound=type)


def _refusing(cls: Class) -> Class:
    """Let the making of a settings object raise BadInput instead of pydantic's ValidationError."""
    validate: Callable[..., None] = cls.__init__  # type: ignore[misc]

    @wraps(validate)
    def init(self: Any, **values: Any) -> None:
        require_known(values)
        try:
            validate(self, **values)
        except ValidationError as error:
            wrong = dict.fromkeys(str(each["loc"][0]) for each in error.errors(include_url=False))
            refuse("settings", [f"{name} is {values[name]!r}; expected {expected(HINTS[name])}" for name in wrong])

    cls.__init__ = init  # type: ignore[misc]
    return cls


@_refusing
@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Settings:
    """What a run is made with; two runs with equal settings on the same data give the same files.

    Each setting has its type and bounds, its help, and as its default the value of the preset `report`.

    Raises:
        BadInput: a ValueError, if a value is out of bounds or of another type; all such values are named.
    """

    model: Annotated[str, OneOf(NETWORKS), About("the network", MAIN)] = "gapnet"
    variant: Annotated[
        Annotated[int, Ge(0), Le(len(NETWORKS["gapnet"].variant_sizes) - 1)] | None,
        About("which of the eight GapNets, which differ in kernel, filters and dropout", MAIN, "0"),
    ] = None
    filters: Annotated[Counts | None, About("filters of each stage of a CellNet", NETWORK, metavar="N,N,...")] = None
    blocks: Annotated[Counts | None, About("residual blocks of each stage of a CellNet", NETWORK, metavar="N,N,...")] = None
    kernel: Annotated[Count | None, About("side of a CellNet's kernels in pixels", NETWORK), Varied((3, 5))] = None
    dropout: Annotated[
        Share | None, Varied(bounds=(0, 0.6)), About("dropout rate of a CellNet on the pooled features", NETWORK)
    ] = None
    activation: Annotated[str, OneOf(ACTIVATIONS), About("activation inside the network", NETWORK)] = "relu"
    weights: Annotated[
        Text | None,
        About(
            "weights to start from, for AlexNet, EfficientNet-lite0 and Keras' own networks",
            NETWORK,
            "new weights",
            "FILE|imagenet",
        ),
    ] = None
    batch_statistics: Annotated[
        str,
        OneOf(STATISTICS),
        About(
            "whether batch normalisation of images goes on learning, keeps what came with the weights, or is measured on "
            "training images once and then kept",
            NETWORK,
        ),
    ] = "learned"
    unfreezing: Annotated[
        Seed,
        About(
            "epochs over which the layers begin to learn, the dense part first, then the last layers, then earlier ones "
            "(gradual unfreezing); 0 for all at once",
            LEARNING,
        ),
    ] = 0
    first_layer_rate: Annotated[
        Portion,
        About(
            "learning rate of the first layer as a share of the dense part's; layers between them have rates between "
            "(discriminative learning rates)",
            LEARNING,
        ),
    ] = 1.0
    stage: Annotated[str, OneOf(STAGES), About("the stage of training", STAGE)] = "base"
    part: Annotated[str, OneOf(PARTS), About("what learns; the rest is frozen", NETWORK)] = "all"
    size: Annotated[Count, About("side of the images in pixels", MAIN)] = 256
    intensity_range: Annotated[
        Ranges | None,
        About(
            "what is black and white in 16-bit images, for all channels or for each, 8-bit for a channel of such files; "
            "full is 0:65535",
            DATA,
            "measured over the training set",
            "LOW:HIGH,...|full",
        ),
    ] = None
    folds: Annotated[
        Count | None, About("number of folds of the training set", DATA, "the data's validation set, or else 5 folds")
    ] = None
    folds_of: Annotated[
        str, OneOf(DEALT), About("what is dealt into folds: the training set, or both it and the validation set", DATA)
    ] = "train"
    fold: Annotated[Seed, About("the fold that is held out for validation", MAIN)] = 0
    split_seed: Annotated[Seed, About("seed of the folds; models of different seeds share their validation rows", DATA)] = 0
    groups: Annotated[
        Text | None,
        About(
            "rows that stay in one fold: those of one antibody, ranges of N neighbouring ids, or a CSV with columns Id and "
            "group; several separated by commas",
            DATA,
            metavar="antibodies|neighbours-N|FILE.csv",
        ),
    ] = None
    external_weight: Annotated[
        FromZero,
        About(
            "learn from external/ and external-<any name>/ in the data folder too, each row weighing this much; 0 for not",
            DATA,
        ),
    ] = 0.0
    rows: Annotated[Count | None, About("how many training rows to learn from", DATA, "all")] = None
    precision: Annotated[
        str,
        OneOf(PRECISIONS),
        About(
            "what the network computes in; weights and outputs are float32 in any case; mixed_bfloat16 is faster where the "
            "processor has matrix units for it",
            NETWORK,
        ),
    ] = "float32"
    seed: Annotated[Seed, About("seed of weights, order, augmentation and dropout", MAIN)] = 0
    epochs: Annotated[Count, About("passes over the training rows", MAIN)] = 40
    batch_size: Annotated[Count, About("images in a step, at most: all steps of an epoch have the same number", MAIN)] = 128
    optimizer: Annotated[str, OneOf(OPTIMIZERS), About("the optimizer", LEARNING)] = "adam"
    learning_rate: Annotated[Positive, Varied(factor=10), About("learning rate of the optimizer, at its highest", MAIN)] = (
        1e-3
    )
    schedule: Annotated[
        str,
        OneOf(SCHEDULES),
        About("how the learning rate falls: to a tenth on a plateau of validation loss or score, or as a cosine", LEARNING),
    ] = "constant"
    warm_up: Annotated[Seed, About("epochs over which a constant or cosine schedule rises; 0 for none", LEARNING)] = 0
    patience: Annotated[Seed, About("end after so many epochs without a better score; 0 for never", LEARNING)] = 0
    weight_decay: Annotated[Share, Varied(factor=10, most=0.99), About("weight decay of the optimizer", LEARNING)] = 0.0
    clip_norm: Annotated[FromZero, About("largest norm of the gradient over all weights; 0 for any", LEARNING)] = 0.0
    ema_momentum: Annotated[
        Share,
        About(
            "momentum of the exponential moving average of the weights, which is validated and kept; 0 for none", LEARNING
        ),
    ] = 0.0
    label_smoothing: Annotated[
        Share, Varied(bounds=(0, 0.2)), About("share of each crossentropy target that is spread over all classes", LEARNING)
    ] = 0.0
    loss: Annotated[Loss, About("what training minimises", MAIN, metavar="LOSS")] = "binary-crossentropy"
    positive_weights: Annotated[
        str, OneOf(WEIGHTINGS), About("what a rare class' positives weigh more in binary-crossentropy", RARE)
    ] = "none"
    class_weights: Annotated[
        str, OneOf(WEIGHTINGS), About("what a rare class' rows weigh more, in single-label tasks", RARE)
    ] = "none"
    oversampling: Annotated[Share, About("repeat the rows of classes that less than this share has; 0 for none", RARE)] = 0.0
    augmentation: Annotated[
        str, OneOf(AUGMENTATIONS), Varied(("cells", "report", "rotation", "flip")), About("how training images vary", MAIN)
    ] = "report"
    mixing: Annotated[str, OneOf(MIXINGS), Varied(), About("how half of the batches are mixed", AUGMENTATION)] = "none"
    augment_on: Annotated[
        Annotated[str, OneOf(PLACES)] | None,
        About(
            "where images are augmented: by the processor, or in the training step by the device, whose memory then holds "
            "the training images",
            AUGMENTATION,
            "device on a GPU where that can be, else host",
        ),
    ] = None
    progressive_resizing: Annotated[
        Share,
        About(
            "share of the epochs, the first, in which a CellNet learns from images of half the pixels, about twice as fast",
            AUGMENTATION,
        ),
    ] = 0.0


NAMES = tuple(field.name for field in dataclasses.fields(Settings))
DEFAULTS: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Settings)}
HINTS = typing.get_type_hints(Settings, include_extras=True)
STAGE_SETTINGS = (
    "model", "variant", "fold", "epochs", "batch_size", "learning_rate", "loss", "augment_on"
)  # that fine-tuning takes  # fmt: skip
RENAMED = {"averaging": "ema_momentum"}  # settings by their names in files of earlier versions
# Settings that runs of earlier versions do not name, and what these runs had.
ADDED: dict[str, Any] = {
    "intensity_range": None,
    "augment_on": "host",
    "batch_statistics": "learned",
    "unfreezing": 0,
    "first_layer_rate": 1.0,
    "folds_of": "train",
}


def require_known(values: Mapping[str, object], known: tuple[str, ...] = ()) -> None:
    """Raise BadInput if a name is not among those of some settings; none given stand for all."""
    known = known or NAMES
    for name in values:
        if name not in known:
            raise BadInput(f"no setting {name} here; {closest(name, known, 'they are')}")


def today(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file of any version holds, with the settings under the names that they have today."""
    return {RENAMED.get(name, name): value for name, value in values.items()}


def faults(values: Mapping[str, Any]) -> Sequence[str]:
    """Return what is wrong with the values of some settings, each by itself; names that are no settings are left out.

    >>> faults({"epochs": 0, "model": "gapnet", "data": "data"})
    ['epochs is 0; expected a whole number from 1 to 2147483647']
    """
    try:
        Settings(**{name: value for name, value in values.items() if name in NAMES})
    except BadInput as error:
        return error.faults
    return []


def about(name: str) -> About:
    """Return what people read of a setting."""
    return next(mark for mark in HINTS[name].__metadata__ if isinstance(mark, About))


def names_of(name: str) -> Collection[str]:
    """Return the names that a setting may be; none if it is of another kind."""
    return next((mark.names for mark in HINTS[name].__metadata__ if isinstance(mark, OneOf)), ())


VARIED = {name: mark for name, hint in HINTS.items() for mark in hint.__metadata__ if isinstance(mark, Varied)}
