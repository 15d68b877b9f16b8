"""All checks of a run before its first epoch, without loading Keras where there is no GPU."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpa.data.augment import is_movable, require_channels
from hpa.data.partition import Partition, make_partition, split_digest
from hpa.errors import BadInput
from hpa.files import require_plain
from hpa.hardware import accelerators, free_device_memory, nvidia_gpus
from hpa.registry import NETWORKS, require_network
from hpa.resources import in_gibibytes
from hpa.runs.folder import (
    as_begun,
    read_settings,
    read_task_of,
    require_augmentation,
    require_finished,
    require_own_name,
    require_same_run,
    require_table,
    run_config,
    settings_config,
    with_intensity_range,
)
from hpa.runs.split import read_partition, validates_as
from hpa.settings import Settings
from hpa.stages import STAGES, require_letters, require_name, run_name
from hpa.tasks import Task
from hpa.training.presets import PRESETS
from hpa.training.resolve import resolve, resolve_stage

# The network takes memory too, and images are copied before the copy that stays is alone.
SHARE_OF_MEMORY = 0.5

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A run whose settings, tables and run folders fit each other.

    Attributes:
        folder: the run folder.
        settings: what it is made with, the measured intensity range included.
        start: the run folder that it starts from; None for a base model.
        partition: the rows to learn from and to validate with.
        config: what config.json holds or will hold, see `run_config`.
    """

    folder: Path
    settings: Settings
    start: Path | None
    partition: Partition
    config: dict[str, Any]


def base_run(
    preset: str | None, given: Mapping[str, Any], task: Task, data: Path, runs: Path, name: str | None = None
) -> tuple[Settings, str]:
    """Return the settings and the name of a base model, as `train` and `plan` take them, from the arguments of `resolve`.

    A run that was begun on another processor keeps its precision. BadInput is raised as by `resolve`, and for a name that
    ends as that of another fold or of an SVM head.
    """
    settings = resolve(preset, given, task, data, runs)
    if name:
        require_name(name, settings.fold)
    name = run_name(name or None, settings.model, settings.variant, settings.fold)
    return settings if "precision" in given else as_begun(settings, runs / name / "base", "precision"), name


def stage_run(stage: str, given: Mapping[str, Any], runs: Path, name: str | None = None) -> tuple[Settings, Task, str]:
    """Return the settings, the task and the name of a fine-tune stage, as `train` and `plan` take them.

    What is given overrides the settings of the stage and of the run that it starts from. Without a name, the given model,
    variant and fold tell which run that is.

    Raises:
        BadInput: if there is no run to start from, or it does not fit what is given.
    """
    model = given.get("model", "gapnet")
    variant = given.get("variant", 0 if "variant" in NETWORKS.find(model).options else None)
    name = run_name(name, model, variant, given.get("fold", 0))
    start = runs / name / str(STAGES[stage].start)
    task = read_task_of(start)
    settings = resolve_stage(read_settings(start), stage, given, task, start)
    require_own_name(start)
    return settings, task, name


def start_of_search(preset: str | None, given: Mapping[str, Any], task: Task, data: Path, runs: Path, name: str) -> Settings:
    """Return the settings that a search of some `name` starts from, as `hpa.training.search.search` takes them.

    Arguments are those of `resolve`. Unless its momentum is given, the exponential moving average spans at most a tenth of a
    trial's steps, and at most the preset's.

    Raises:
        BadInput: as `resolve`, and if the name is a preset's, a stage's or cannot be that of a folder.
    """
    if require_letters(name) in (*PRESETS, *STAGES, preset):
        raise BadInput(f"name {name}: is the name of a preset or a stage already; choose another", setting="name")
    start = resolve(preset, given, task, data, runs)
    if "ema_momentum" not in given:
        steps = start.epochs * math.ceil(len(make_partition(start, task, data).training) / start.batch_size)
        # A momentum m averages over about 1 / (1 - m) steps.
        start = replace(start, ema_momentum=min(start.ema_momentum, max(0.0, 1 - 10 / steps)))
    return start


def plan(settings: Settings, task: Task, data: Path, runs: Path, name: str) -> Plan:
    """Check a run before anything of it is written; arguments are those of `hpa.training.train.train`.

    Raises:
        BadInput: if the tables, the start run or the run folder do not fit the settings.
    """
    folder = runs / name / settings.stage
    previous = STAGES[settings.stage].start
    start = folder.parent / previous if previous else None
    require_channels(settings.augmentation, len(task.channels))
    if not start and not settings.intensity_range:
        settings = as_begun(settings, folder, "intensity_range")
    if not settings.augment_on:
        settings = as_begun(settings, folder, "augment_on")
    require_same_run(folder, settings_config(settings, task))
    if start:
        require_finished(start)
        partition = read_partition(start, settings, task, data)
        require_table(start, partition.table)
    else:
        require_network(settings.model, settings.variant, settings.size, len(task.channels))
        if settings.weights not in (None, "imagenet"):  # Keras checks what is in a file
            require_plain(Path(settings.weights))
            if not Path(settings.weights).is_file():
                raise BadInput(f"weights {settings.weights}: absent or a folder; name a file of weights", "weights")
        begun = all((folder / file).exists() for file in ("config.json", "split.csv"))
        partition = read_partition(folder, settings, task, data) if begun else make_partition(settings, task, data)
        if not validates_as(folder, partition):
            fault = "missing, and a new one would have other validation rows than validation.npz"
            fix = "restore it, or delete the run folder and train again"
            raise BadInput(f"{folder / 'split.csv'}: {fault}; {fix}")
        settings = with_intensity_range(settings, folder, task, data, runs, partition.sets["train"].ids)
    if not (folder / "config.json").exists():  # a run keeps its place, also where it is only looked at
        place = place_of_augmentation(settings, len(partition.training), len(task.channels))
        settings = replace(settings, augment_on=place)
    config = run_config(settings, task, partition.table, start and start / "model.keras")
    config["split_sha256"] = split_digest(settings, partition)
    require_same_run(folder, config)
    require_augmentation(folder, settings.augmentation)
    return Plan(folder, settings, start, partition, config)


def place_of_augmentation(settings: Settings, rows: int, channels: int) -> str:
    """Return where a run that learns from so many rows augments its images, one of `PLACES`.

    If the settings name none: the device if it is a GPU and can do it, else the host.

    Raises:
        BadInput: if the settings say the device and it cannot.
    """
    if settings.augment_on == "host" or (not settings.augment_on and not (nvidia_gpus() and accelerators())):
        return "host"
    reason = reason_against_device(settings, rows, channels)
    if reason and settings.augment_on:
        raise BadInput(f"augment_on device: {reason}; choose host", setting="augment_on")
    if reason:
        logger.info("images are augmented on the host: %s", reason)
    return "host" if reason else "device"


def reason_against_device(settings: Settings, rows: int, channels: int) -> str | None:
    """Return why a run that learns from so many rows cannot augment its images on the device; None if it can."""
    needed, free = rows * settings.size**2 * channels, free_device_memory()
    if not is_movable(settings.augmentation):
        return f"augmentation {settings.augmentation} is done by the host alone"
    if settings.progressive_resizing:
        return "progressive resizing is done by the host alone"
    if free is not None and needed > SHARE_OF_MEMORY * free:
        room = f"at most {SHARE_OF_MEMORY:.0%} of the {in_gibibytes(free)} that are free"
        return f"the {rows:,} training images need {in_gibibytes(needed)} of the device's memory, and may have {room}"
    return None
