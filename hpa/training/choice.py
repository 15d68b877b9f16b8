"""The settings of a run: what a preset or the stage before says, what options put in its place, and whether that fits."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hpa.data.intensity import stated_range
from hpa.data.partition import has_validation_set
from hpa.errors import BadInput
from hpa.registry import NETWORKS
from hpa.settings import NAMES, SMOOTHED, Settings, Stage, parse_loss, require_loss
from hpa.tasks import Task
from hpa.training.presets import FOLDS, preset_name, preset_settings

TOPOLOGY = ("filters", "blocks", "kernel", "dropout")


def base_settings(preset: str | None, options: Mapping[str, object], task: Task, data: Path, runs: Path) -> Settings:
    """Return the settings of a base model.

    What a preset says of another network's topology, or of smoothing that the loss has no use for, is left out; the same
    asked for by an option is refused.

    Args:
        preset: its name, as for `preset_settings`; None for the task's own.
        options: values that take the place of the preset's, by the name of the setting; None and other names are left out.
        task: what is classified.
        data: folder of the data, whose own validation set is used if there is one and no folds are asked for.
        runs: the folder of all runs.

    Raises:
        BadInput: if there is no such preset, or settings do not go together, or with the task.
    """
    chosen = preset_settings(preset_name(preset, task), runs)
    given = _given(options)
    if given.get("model", "cellnet") != "cellnet":
        chosen = chosen | dict.fromkeys(TOPOLOGY)
    chosen = chosen | given
    if chosen["folds"] is None and not has_validation_set(data):
        chosen["folds"] = FOLDS
    if "intensity_range" in given:
        chosen["intensity_range"] = stated_range(given["intensity_range"], task)
    chosen["variant"] = variant_of(chosen["model"], chosen["variant"])
    if "label_smoothing" not in given and not _smooths(chosen["loss"]):
        chosen["label_smoothing"] = 0.0
    settings = Settings(**chosen)
    _require_sense(settings, task)
    return settings


def stage_settings(start: Settings, stage: Stage, options: Mapping[str, object], task: Task) -> Settings:
    """Return the settings of a fine-tune stage.

    Args:
        start: of the run that it starts from; what its loss alone had a use for is left out.
        stage: gives part, epochs, learning rate and loss.
        options: as for `base_settings`.
        task: what is classified.

    Raises:
        BadInput: if the loss is not for the task.
    """
    own = {"part": stage.part, "epochs": stage.epochs, "learning_rate": stage.learning_rate, "loss": stage.loss}
    own |= {"schedule": "constant", "warm_up": 0, "progressive_resizing": 0.0}
    settings = replace(start, **(own | _given(options) | {"stage": stage.name}))
    if not _smooths(settings.loss):
        settings = replace(settings, label_smoothing=0.0)
    if not _weighs_positives(settings.loss):
        settings = replace(settings, positive_weights="none")
    require_loss(settings.loss, task.labels)
    return settings


def variant_of(model: str, variant: int | None) -> int | None:
    """Return the variant that `--model` and `--variant` ask for, None for a model without variants."""
    if "variant" in NETWORKS[model].options:
        return variant or 0
    if variant is not None:
        raise BadInput(f"--model {model} has no variants; leave --variant out")
    return None


def _given(options: Mapping[str, object]) -> dict[str, object]:
    return {name: options[name] for name in NAMES if options.get(name) is not None}


def _smooths(loss: str) -> bool:
    return bool(parse_loss(loss).keys() & SMOOTHED)


def _weighs_positives(loss: str) -> bool:
    return "binary-crossentropy" in parse_loss(loss)


def _require_sense(settings: Settings, task: Task) -> None:
    options = NETWORKS[settings.model].options
    if settings.folds is None and settings.fold:
        raise BadInput(f"--fold {settings.fold}: the data has a validation set of its own; ask for --folds to split train/")
    if settings.folds is not None and settings.fold >= settings.folds:
        raise BadInput(f"--fold {settings.fold} of --folds {settings.folds}: folds count from 0")
    require_loss(settings.loss, task.labels)
    if settings.label_smoothing and not _smooths(settings.loss):
        raise BadInput(
            f"--label-smoothing {settings.label_smoothing}: --loss {settings.loss} has none; leave it out, or take one of "
            + ", ".join(SMOOTHED)
        )
    if settings.class_weights != "none" and task.labels == "many":
        raise BadInput(
            f"--class-weights {settings.class_weights}: is for one label a sample; a row with several has no class of its "
            "own (Keras' class_weight would silently take its first). Take --positive-weights or --oversampling"
        )
    if settings.positive_weights != "none" and not _weighs_positives(settings.loss):
        raise BadInput(
            f"--positive-weights {settings.positive_weights}: weigh the positives in binary-crossentropy, which --loss "
            f"{settings.loss} is without; leave them out, or take --oversampling"
        )
    if settings.warm_up and settings.schedule not in ("constant", "cosine"):
        raise BadInput(f"--warm-up {settings.warm_up}: is for --schedule constant or cosine, not {settings.schedule}")
    if settings.weights and "weights" not in options:
        raise BadInput(
            f"--weights {settings.weights}: --model {settings.model} starts from new ones; leave them out, or take one of "
            + ", ".join(name for name in NETWORKS if "weights" in NETWORKS[name].options)
        )
    if settings.activation != "relu" and "activation" not in options:
        raise BadInput(f"--activation {settings.activation}: --model {settings.model} has its own; leave it out")
    if settings.progressive_resizing and "progressive_resizing" not in options:
        raise BadInput(
            f"--progressive-resizing {settings.progressive_resizing}: --model {settings.model} is built for one size of "
            "image; leave it out, or take --model cellnet"
        )
    topology = [getattr(settings, name) for name in TOPOLOGY]
    if settings.model == "cellnet" and (None in topology or len(settings.filters) != len(settings.blocks)):
        raise BadInput(
            "--model cellnet needs --filters and --blocks of the same length, --kernel and --dropout, or --preset cells"
        )
    if settings.model != "cellnet" and any(each is not None for each in topology):
        raise BadInput(
            f"--model {settings.model}: --filters, --blocks, --kernel and --dropout are for cellnet; leave them out"
        )
