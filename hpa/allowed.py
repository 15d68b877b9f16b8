"""What each setting of a run may be: the table by which preset files and config.json are checked, as options are."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from hpa.errors import BadInput
from hpa.models.gapnet import VARIANTS
from hpa.registry import NETWORKS
from hpa.settings import (
    ACTIVATIONS,
    AUGMENTATIONS,
    MIXINGS,
    OPTIMIZERS,
    PARTS,
    PRECISIONS,
    SCHEDULES,
    STAGES,
    WEIGHTINGS,
    parse_loss,
)

LARGEST_SEED = 2**32 - 1  # as far as NumPy's seeds go
LARGEST_COUNT = 2**31 - 1  # as the options have it


@dataclass(frozen=True)
class Allowed:
    """The values that a setting may have.

    Attributes:
        text: what they are, in words.
        holds: whether a value, of any type that JSON has, is one of them.
    """

    text: str
    holds: Callable[[object], bool]


def _whole(lowest: int, highest: int | None = None) -> Allowed:
    text = f"a whole number of at least {lowest}" if highest is None else f"a whole number from {lowest} to {highest}"
    return Allowed(text, lambda value: type(value) is int and lowest <= value and (highest is None or value <= highest))


def _number(text: str, holds: Callable[[float], bool]) -> Allowed:
    return Allowed(text, lambda value: type(value) in (int, float) and abs(value) < float("inf") and holds(value))


def _one_of(names: Collection[str]) -> Allowed:
    return Allowed(f"one of {', '.join(names)}", lambda value: isinstance(value, str) and value in names)


def _or_none(allowed: Allowed) -> Allowed:
    return Allowed(f"{allowed.text}, or null", lambda value: value is None or allowed.holds(value))


def _is_loss(value: object) -> bool:
    try:
        return isinstance(value, str) and bool(parse_loss(value))
    except BadInput:
        return False


def _is_interval(value: object) -> bool:
    if value is None:
        return True
    sound = isinstance(value, list | tuple) and len(value) == 2 and all(type(each) is int for each in value)
    return sound and 0 <= value[0] < value[1] < 2**16


COUNT, SEED = _whole(1, LARGEST_COUNT), _whole(0, LARGEST_SEED)
COUNTS = Allowed(
    "a list of whole numbers of at least 1",
    lambda value: isinstance(value, list | tuple) and len(value) > 0 and all(map(COUNT.holds, value)),
)
SHARE = _number("a number from 0 to below 1", lambda value: 0 <= value < 1)
FROM_ZERO = _number("a number of at least 0", lambda value: value >= 0)
POSITIVE = _number("a number above 0", lambda value: value > 0)
RANGES = Allowed(
    "a list of [LOW, HIGH] with 0 <= LOW < HIGH <= 65535, or null, for each channel",
    lambda value: isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_interval, value)),
)
TEXT = Allowed("a text", lambda value: isinstance(value, str) and value != "" and "\0" not in value)

ALLOWED = {
    "model": _one_of(NETWORKS),
    "variant": _or_none(_whole(0, len(VARIANTS) - 1)),
    "filters": _or_none(COUNTS),
    "blocks": _or_none(COUNTS),
    "kernel": _or_none(COUNT),
    "dropout": _or_none(SHARE),
    "activation": _one_of(ACTIVATIONS),
    "weights": _or_none(TEXT),
    "stage": _one_of(STAGES),
    "part": _one_of(PARTS),
    "size": COUNT,
    "intensity_range": _or_none(RANGES),
    "folds": _or_none(COUNT),
    "fold": SEED,
    "split_seed": SEED,
    "groups": _or_none(TEXT),
    "external_weight": FROM_ZERO,
    "rows": _or_none(COUNT),
    "precision": _one_of(PRECISIONS),
    "seed": SEED,
    "epochs": COUNT,
    "batch_size": COUNT,
    "optimizer": _one_of(OPTIMIZERS),
    "learning_rate": POSITIVE,
    "schedule": _one_of(SCHEDULES),
    "warm_up": SEED,
    "patience": SEED,
    "weight_decay": SHARE,
    "clip_norm": FROM_ZERO,
    "averaging": SHARE,
    "label_smoothing": SHARE,
    "loss": Allowed("a loss, or two as A+B or A+B:SHARE", _is_loss),
    "positive_weights": _one_of(WEIGHTINGS),
    "class_weights": _one_of(WEIGHTINGS),
    "oversampling": SHARE,
    "augmentation": _one_of(AUGMENTATIONS),
    "mixing": _one_of(MIXINGS),
    "progressive_resizing": SHARE,
}


def value_faults(settings: Mapping[str, object]) -> list[str]:
    """Return what is wrong with the values of some settings, each by itself; names that are no settings are passed over."""
    return [
        f"{name} is {value!r}; expected {ALLOWED[name].text}"
        for name, value in settings.items()
        if name in ALLOWED and not ALLOWED[name].holds(value)
    ]
