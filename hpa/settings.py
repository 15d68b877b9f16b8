"""Every setting of a run, written once, and the stages of training.

The options of the commands, the checks of config.json and of presets, and the table of settings in the documentation all
come from the class `Settings`.
"""

import dataclasses
import re
import typing
from collections.abc import Collection, Mapping
from typing import Annotated, Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import AfterValidator, ConfigDict, GetCoreSchemaHandler, Strict, StringConstraints, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_after_validator_function

from hpa.errors import BadInput
from hpa.labels import LABELS
from hpa.registry import AUGMENTATIONS, LOSSES, MIXINGS, NETWORKS, OPTIMIZERS, SCHEDULES, WEIGHTINGS

ACTIVATIONS = ("relu", "mish")  # inside the networks, by Keras' names
PRECISIONS = ("float32", "mixed_bfloat16")  # Keras' names
SVM_KERNELS = ("linear", "rbf")  # of SVM heads, which are in the names of their runs
PARTS = ("all", "convolutional", "dense")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: also the name of its run folder.
        start: the stage whose best model it starts from; None starts from new weights.
        part: what learns, one of `PARTS`; the rest is frozen.
        epochs: the default number of epochs.
        learning_rate: the default learning rate.
        loss: the default loss, as `parse_loss` reads it.
    """

    name: str
    start: str | None
    part: str
    epochs: int
    learning_rate: float
    loss: str


# The report's schedule: 40 epochs, then 10 on the CNN, 4 on the DNN and 2 more on the DNN.
STAGES = {
    stage.name: stage
    for stage in (
        Stage("base", None, "all", 40, 1e-3, "binary-crossentropy"),
        Stage("cnn", "base", "convolutional", 10, 1e-4, "soft-f1"),
        Stage("dnn", "cnn", "dense", 4, 1e-4, "soft-f1"),
        Stage("dnn2", "dnn", "dense", 2, 1e-4, "soft-f1"),
    )
}


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


def require_loss(loss: str, labels: str) -> None:
    """Raise BadInput if a loss, or a part of it, is not for tasks with `labels`, a key of `LABELS`."""
    for name in parse_loss(loss):
        if labels not in LOSSES[name].labels:
            raise BadInput(
                f"loss {name} is not for {LABELS[labels].words} tasks; choose another loss or preset", setting="loss"
            )


# How values look, for messages and the documentation; what numbers and names may be is read from their types.
LOSS_WORDS = f"one of {', '.join(LOSSES)}, or two of them as A+B or A+B:SHARE, where SHARE is B's, between 0 and 1"
RANGE_WORDS = "a list of [LOW, HIGH] with 0 <= LOW < HIGH <= 65535, or null, for each channel"


@dataclasses.dataclass(frozen=True)
class OneOf:
    """The names that a text may be. They are looked up when a value is checked, so that a registry may grow."""

    names: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return pydantic's check."""
        return no_info_after_validator_function(self.check, handler(source))

    def check(self, value: str) -> str:
        """Raise ValueError unless a text is one of the names."""
        if value not in self.names:
            raise ValueError
        return value


@dataclasses.dataclass(frozen=True)
class Words:
    """What a type allows, where it cannot be read from its bounds."""

    text: str


@dataclasses.dataclass(frozen=True)
class About:
    """What people read of a setting besides its name and type.

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


def _check_loss(value: str) -> str:
    parse_loss(value)
    return value


def _check_interval(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] >= value[1]:
        raise ValueError
    return value


LARGEST_SEED = 2**32 - 1  # as far as NumPy's seeds go
LARGEST_COUNT = 2**31 - 1  # so that what is computed with it stays within number formats
Count = Annotated[int, Ge(1), Le(LARGEST_COUNT)]
Seed = Annotated[int, Ge(0), Le(LARGEST_SEED)]
Share = Annotated[float, Ge(0), Lt(1)]
FromZero = Annotated[float, Ge(0)]
Positive = Annotated[float, Gt(0)]
Level = Annotated[int, Ge(0), Lt(2**16)]
# JSON has lists where tuples are meant.
Counts = Annotated[tuple[Count, ...], MinLen(1), Strict(False)]
Interval = Annotated[tuple[Level, Level], Strict(False), AfterValidator(_check_interval)]
Ranges = Annotated[tuple[Interval | None, ...], MinLen(1), Strict(False), Words(RANGE_WORDS)]
Loss = Annotated[str, AfterValidator(_check_loss), Words(LOSS_WORDS)]
Text = Annotated[str, StringConstraints(pattern="^[^\0]+$"), Words("a text")]

MAIN, DATA, NETWORK, LEARNING = "most used", "data", "network", "learning"
RARE, AUGMENTATION, STAGE = "rare classes", "augmentation", "stage"


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class Settings:
    """What a run is made with; two runs with equal settings on the same data give the same files.

    Each setting has its type and bounds, its help, and as its default the value of the preset `report`.

    Raises:
        pydantic.ValidationError: a ValueError, if a value is out of bounds or of another type.
    """

    model: Annotated[str, OneOf(NETWORKS), About("the network", MAIN)] = "gapnet"
    variant: Annotated[
        Annotated[int, Ge(0), Le(len(NETWORKS["gapnet"].variant_sizes) - 1)] | None,
        About("which of the eight GapNets, which differ in kernel, filters and dropout", MAIN, "0"),
    ] = None
    filters: Annotated[Counts | None, About("filters of each stage of a CellNet", NETWORK, metavar="N,N,...")] = None
    blocks: Annotated[Counts | None, About("residual blocks of each stage of a CellNet", NETWORK, metavar="N,N,...")] = None
    kernel: Annotated[Count | None, About("side of a CellNet's kernels in pixels", NETWORK)] = None
    dropout: Annotated[Share | None, About("dropout rate of a CellNet on the pooled features", NETWORK)] = None
    activation: Annotated[str, OneOf(ACTIVATIONS), About("activation inside the network", NETWORK)] = "relu"
    weights: Annotated[
        Text | None,
        About("weights to start from, for alexnet and Keras' own networks", NETWORK, "new weights", "FILE|imagenet"),
    ] = None
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
    batch_size: Annotated[Count, About("images in a step", MAIN)] = 128
    optimizer: Annotated[str, OneOf(OPTIMIZERS), About("the optimizer", LEARNING)] = "adam"
    learning_rate: Annotated[Positive, About("learning rate of the optimizer, at its highest", MAIN)] = 1e-3
    schedule: Annotated[
        str,
        OneOf(SCHEDULES),
        About("how the learning rate falls: to a tenth on a plateau of validation loss or score, or as a cosine", LEARNING),
    ] = "constant"
    warm_up: Annotated[Seed, About("epochs over which a constant or cosine schedule rises; 0 for none", LEARNING)] = 0
    patience: Annotated[Seed, About("end after so many epochs without a better score; 0 for never", LEARNING)] = 0
    weight_decay: Annotated[Share, About("weight decay of the optimizer", LEARNING)] = 0.0
    clip_norm: Annotated[FromZero, About("largest norm of the gradient over all weights; 0 for any", LEARNING)] = 0.0
    ema_momentum: Annotated[
        Share,
        About(
            "momentum of the exponential moving average of the weights, which is validated and kept; 0 for none", LEARNING
        ),
    ] = 0.0
    label_smoothing: Annotated[
        Share, About("share of each crossentropy target that is spread over all classes", LEARNING)
    ] = 0.0
    loss: Annotated[Loss, About("what training minimises", MAIN, metavar="LOSS")] = "binary-crossentropy"
    positive_weights: Annotated[
        str, OneOf(WEIGHTINGS), About("what a rare class' positives weigh more in binary-crossentropy", RARE)
    ] = "none"
    class_weights: Annotated[
        str, OneOf(WEIGHTINGS), About("what a rare class' rows weigh more, in single-label tasks", RARE)
    ] = "none"
    oversampling: Annotated[Share, About("repeat the rows of classes that less than this share has; 0 for none", RARE)] = 0.0
    augmentation: Annotated[str, OneOf(AUGMENTATIONS), About("how training images vary", MAIN)] = "report"
    mixing: Annotated[str, OneOf(MIXINGS), About("how half of the batches are mixed", AUGMENTATION)] = "none"
    progressive_resizing: Annotated[
        Share,
        About(
            "share of the epochs, the first, in which a CellNet learns from images of half the pixels, about twice as fast",
            AUGMENTATION,
        ),
    ] = 0.0


NAMES = tuple(field.name for field in dataclasses.fields(Settings))
DEFAULTS = dataclasses.asdict(Settings())
HINTS = typing.get_type_hints(Settings, include_extras=True)
STAGE_SETTINGS = ("model", "variant", "fold", "epochs", "batch_size", "learning_rate", "loss")  # that fine-tuning takes
RENAMED = {"averaging": "ema_momentum"}  # settings by their names in files of earlier versions


def today(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a file of any version holds, with the settings under the names that they have today."""
    return {RENAMED.get(name, name): value for name, value in values.items()}


def faults(values: Mapping[str, object]) -> list[str]:
    """Return what is wrong with the values of some settings, each by itself; names that are no settings are left out.

    >>> faults({"epochs": 0, "model": "gapnet", "data": "data"})
    ['epochs is 0; expected a whole number from 1 to 2147483647']
    """
    try:
        Settings(**{name: value for name, value in values.items() if name in NAMES})  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = dict.fromkeys(str(each["loc"][0]) for each in error.errors(include_url=False))
        return [f"{name} is {values[name]!r}; expected {expected(HINTS[name])}" for name in wrong]
    return []


def about(name: str) -> About:
    """Return what people read of a setting."""
    return next(mark for mark in HINTS[name].__metadata__ if isinstance(mark, About))


def kind(hint: Any) -> tuple[Any, tuple[object, ...]]:
    """Return the type of a setting without None, and what else is said of its values."""
    marks: tuple[object, ...] = ()
    while True:
        if get_origin(hint) is Annotated:
            hint, marks = hint.__origin__, marks + hint.__metadata__
        elif type(None) in get_args(hint):
            hint = get_args(hint)[0]
        else:
            return hint, marks


def expected(hint: Any) -> str:
    """Return in words what values a type allows.

    >>> expected(Share), expected(Counts | None)
    ('a number from 0 to below 1', 'a list of whole numbers from 1 to 2147483647')
    """
    own, marks = kind(hint)
    for mark in marks:
        if isinstance(mark, OneOf):
            return f"one of {', '.join(mark.names)}"
        if isinstance(mark, Words):
            return mark.text
    if get_origin(own) is tuple:
        return f"a list of {expected(get_args(own)[0])[2:].replace('number', 'numbers')}"
    number, [low, *high] = (
        "a whole number" if own is int else "a number",
        [each for each in marks if not isinstance(each, About)],
    )
    match low, high:
        case Gt(limit), []:
            return f"{number} above {limit}"
        case Ge(limit), []:
            return f"{number} of at least {limit}"
        case Ge(limit), [Le(most)]:
            return f"{number} from {limit} to {most}"
        case Ge(limit), [Lt(most)]:
            return f"{number} from {limit} to below {most}"
    raise TypeError(hint)


def run_name(given: str | None, model: str, variant: int | None, fold: int) -> str:
    """Return the name of a run's folder: what is given, or else the variant, with the model unless it is GapNet.

    Folds but the first have their number in it, as `fold_name` says; a given name may have it already.
    """
    parts = [] if model == "gapnet" else [model]
    parts += [] if variant is None else [str(variant)]
    name = given or "-".join(parts)
    return fold_name(name.removesuffix(fold_name("", fold)), fold)


def fold_name(run: str, fold: int, kernel: str | None = None) -> str:
    """Return the name of a fold of a run, with the kernel of its SVM head if it has one.

    >>> fold_name("0", 0), fold_name("0", 2), fold_name("0", 2, "rbf")
    ('0', '0-fold2', '0-fold2-svm-rbf')
    """
    return run + (f"-fold{fold}" if fold else "") + (f"-svm-{kernel}" if kernel else "")


def name_fault(name: str, fold: int, kernel: str | None = None) -> str | None:
    """Return what is wrong with a run's name: that it ends as those of another fold or of an SVM head do.

    Args:
        name: as a user gives it; the ending of its own fold may be left out.
        fold: that the run holds out.
        kernel: of the run's SVM head; None if it has none.
    """
    ending = fold_name("", 0, kernel)
    endings = tuple(fold_name("", 0, each) for each in SVM_KERNELS)
    if not name.endswith(ending) or name.removesuffix(ending).endswith(endings):
        return "only the runs that hpa.svm makes end in -svm-<kernel>; choose another name"
    _, mark, number = name.removesuffix(ending).rpartition("-fold")
    if mark and number.isdecimal() and mark + number != fold_name("", fold):
        return (
            f"ends in {mark}{number}, as the name of another fold does, but the fold here is {fold}; choose a name without "
            "that ending, the fold is added automatically"
        )
    return None


def require_name(name: str, fold: int, kernel: str | None = None) -> None:
    """Raise BadInput if there is a `name_fault`."""
    if fault := name_fault(name, fold, kernel):
        raise BadInput(f"name {name}: {fault}", setting="name")
