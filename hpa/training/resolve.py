"""Resolve and validate the settings of a run: those that are given, and else those of a preset or of the start run.

All contradictions are found here, for training, fine-tuning, search and the library alike. BadInput is raised for a given
setting that the network, the loss or the schedule does not use. One of a preset or start run is reset to its default.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from hpa.backend import backend
from hpa.data.intensity import stated_range
from hpa.data.partition import has_validation_set
from hpa.errors import BadInput, refuse
from hpa.registry import LOSSES, NETWORKS, SCHEDULES
from hpa.settings import DEFAULTS, STAGE_SETTINGS, Settings, parse_loss, require_known
from hpa.stages import STAGES
from hpa.tasks import Task
from hpa.training.presets import FOLDS, preset_settings

TOPOLOGY = ("filters", "blocks", "kernel", "dropout")
OF_THE_START = ("model", "variant", "fold")  # settings of a stage that tell which run it starts from


class Rule(NamedTuple):
    """A setting that only some runs use; the others have its default.

    Attributes:
        name: the setting.
        used: whether a run uses it.
        reason: why another run does not, and how to fix it; a format with the settings, with `networks` and `losses`, those
            that take it, and with `schedules`, those that warm up.
    """

    name: str
    used: Callable[[Settings, Task], bool]
    reason: str


def _of_network(name: str, reason: str) -> Rule:
    return Rule(name, lambda own, _: name in NETWORKS[own.model].options, reason)


def _of_loss(name: str, reason: str) -> Rule:
    return Rule(name, lambda own, _: any(name in LOSSES[part].options for part in parse_loss(own.loss)), reason)


RULES = (
    _of_network("variant", "model {model} has no variants; leave it out"),
    *(_of_network(name, "is for {networks}, not {model}; leave it out") for name in TOPOLOGY),
    _of_network("activation", "model {model} has its own; leave it out"),
    _of_network("weights", "model {model} starts from new ones; leave them out, or choose {networks}"),
    _of_network("progressive_resizing", "model {model} is built for one size of image; leave it out, or choose {networks}"),
    Rule(
        "batch_statistics",
        lambda own, _: bool(own.weights) and NETWORKS[own.model].batch_normalised,
        "is for networks with batch normalisation that start from weights; leave it out, or give weights",
    ),
    Rule(
        "unfreezing",
        lambda own, _: bool(own.weights) and own.part == "all" and own.unfreezing < own.epochs,
        "is for runs that start from weights, learn with part all, and for more epochs than that; leave it out",
    ),
    Rule(
        "first_layer_rate",
        lambda own, _: own.part != "dense",
        "is for runs that learn more than the dense part; leave it out",
    ),
    _of_loss("label_smoothing", "loss {loss} has none; leave it out, or choose one of {losses}"),
    _of_loss(
        "positive_weights",
        "weigh the positives in {losses}, but the loss is {loss}; leave them out, or choose oversampling",
    ),
    Rule("folds_of", lambda own, _: own.folds is not None, "is for folds; leave it out, or ask for folds"),
    Rule(
        "class_weights",
        lambda settings, task: task.kind.exclusive,
        "is for single-label tasks: a row with several classes has no single weight (Keras' class_weight would silently "
        "take that of the first). Choose positive weights or oversampling",
    ),
    Rule(
        "warm_up",
        lambda settings, task: not SCHEDULES[settings.schedule].plateau,
        "is for schedule {schedules}, not {schedule}",
    ),
)


def resolve(preset: str | None, given: Mapping[str, Any], task: Task, data: Path, runs: Path) -> Settings:
    """Return the settings of a base model.

    Args:
        preset: its name, as for `preset_settings`; None for the task's own.
        given: settings that override the preset's.
        task: what is classified.
        data: folder of the data. Without a validation set train/ is split into folds.
        runs: the folder of all runs.

    Raises:
        BadInput: if there is no such preset or setting, a value is out of bounds, or settings contradict each other or the
            task.
    """
    Settings(**given)  # raises for values that are faulty by themselves
    values = preset_settings(preset or task.kind.preset, runs) | dict(given)
    if not has_validation_set(data):
        if given.get("folds_of") == "both":
            raise BadInput(f"folds_of both: {data} has no validation set; leave it out", setting="folds_of")
        values |= {"folds": values["folds"] or FOLDS, "folds_of": "train"}
    if "intensity_range" in given:
        values["intensity_range"] = stated_range(given["intensity_range"], task)
    return _fitting(Settings(**values), given, task)


def resolve_stage(
    start: Settings, stage: str, given: Mapping[str, Any], task: Task, where: object = "the run it starts from"
) -> Settings:
    """Return the settings of a fine-tune stage, a name in `STAGES`: those given, else the stage's, else those of its start.

    BadInput is raised as by `resolve`, or if the start run, in the folder `where`, has another model, variant or fold.
    """
    require_known(given, STAGE_SETTINGS)
    Settings(**given)  # raises for values that are faulty by themselves
    differing = [name for name in OF_THE_START if name in given and given[name] != getattr(start, name)]
    wrong = [f"was made with {name} {getattr(start, name)}, not {given[name]}; leave that out" for name in differing]
    refuse(where, wrong, setting=differing[0] if len(differing) == 1 else None)
    own = STAGES[stage]
    values: dict[str, Any] = {name: getattr(own, name) for name in ("part", "epochs", "learning_rate", "loss")}
    values |= {"stage": stage, "schedule": "constant", "warm_up": 0, "progressive_resizing": 0.0, "augment_on": None}
    values |= {"unfreezing": 0} | ({"batch_statistics": "kept"} if start.batch_statistics == "renewed" else {})
    return _fitting(replace(start, **(values | dict(given))), given, task)


def require_shareable(count: int, settings: Settings, setting: str = "devices") -> None:
    """Raise BadInput if so many devices cannot train a run together; the `setting` has their number."""
    if count <= 1:
        return
    if backend() == "torch":
        raise BadInput(f"{setting}: several are for jax and tensorflow; set KERAS_BACKEND, or ask for 1", setting)
    if settings.batch_size % count:
        lower = settings.batch_size // count * count
        near = " or ".join(str(size) for size in (lower, lower + count) if size)
        fault = f"batch_size {settings.batch_size}: {count} devices cannot share it equally"
        raise BadInput(f"{fault}; choose {near}", "batch_size")
    if settings.augment_on == "device":
        raise BadInput("augment_on device: is for one device; choose host", "augment_on")
    if settings.clip_norm and backend() == "tensorflow":
        fault = f"clip_norm {settings.clip_norm}: under TensorFlow each device would clip its own part of the gradient"
        raise BadInput(f"{fault}; set KERAS_BACKEND=jax, or train on one device", "clip_norm")


def _fitting(settings: Settings, given: Mapping[str, Any], task: Task) -> Settings:
    """Return settings without those that the run does not use."""
    for part in parse_loss(settings.loss):
        if task.labels not in LOSSES[part].labels:
            raise BadInput(f"loss {part} is not for {task.kind.words} tasks; choose another loss or preset", setting="loss")
    for name, used, reason in RULES:
        value = getattr(settings, name)
        if value == DEFAULTS[name] or used(settings, task):
            continue
        if name in given:
            known = {
                "networks": " or ".join(each for each in NETWORKS if name in NETWORKS[each].options),
                "losses": ", ".join(each for each in LOSSES if name in LOSSES[each].options),
                "schedules": " or ".join(each for each in SCHEDULES if not SCHEDULES[each].plateau),
            }
            raise BadInput(f"{name} {value}: {reason.format(**vars(settings), **known)}", setting=name)
        settings = replace(settings, **{name: DEFAULTS[name]})
    options = NETWORKS[settings.model].options
    if "variant" in options and settings.variant is None:
        settings = replace(settings, variant=0)
    missing = [name for name in TOPOLOGY if name in options and getattr(settings, name) is None]
    if missing or ("blocks" in options and len(settings.filters or ()) != len(settings.blocks or ())):
        wanted = "expected filters and blocks of the same length, kernel and dropout; give them, or choose preset cells"
        raise BadInput(f"model {settings.model}: {wanted}", setting="model")
    if settings.folds is None and settings.fold:  # a preset's too: without it, the run would learn from another split
        reason = "the data has a validation set; ask for folds"
        raise BadInput(f"fold {settings.fold}: {reason}", setting="fold")
    if settings.folds is not None and settings.fold >= settings.folds:
        raise BadInput(f"fold {settings.fold}: there are {settings.folds} folds, counted from 0", setting="fold")
    return settings
