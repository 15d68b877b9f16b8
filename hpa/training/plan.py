"""A run as it would be made: all that can be checked before the first epoch, and without loading Keras."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpa.data.augment import require_channels
from hpa.data.partition import Partition, make_partition, split_digest
from hpa.errors import BadInput, refuse
from hpa.files import require_plain
from hpa.registry import NETWORKS, require_network
from hpa.runs.folder import (
    is_finished,
    model_faults,
    read_settings,
    read_task_of,
    require_own_name,
    require_same_run,
    require_table,
    run_config,
    settings_config,
    with_intensity_range,
    with_intensity_range_of,
    with_precision_of,
)
from hpa.runs.split import read_partition, validates_as
from hpa.settings import STAGES, Settings, run_name
from hpa.tasks import Task
from hpa.training.resolve import resolve, resolve_name, resolve_stage


@dataclass(frozen=True)
class Plan:
    """A run whose settings, tables and run folders fit each other.

    Attributes:
        folder: the run folder.
        settings: what it is made with, the intensity range that was measured among them.
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
    """Return the settings and the name of a base model, as `train` and `plan` take them.

    A run that was begun on another processor keeps its precision. Arguments are those of `resolve`, and the name, if one is
    given.

    Raises:
        BadInput: as `resolve` and `resolve_name`.
    """
    settings = resolve(preset, given, task, data, runs)
    name = resolve_name(name, settings)
    return settings if "precision" in given else with_precision_of(runs / name / "base", settings), name


def stage_run(stage: str, given: Mapping[str, Any], runs: Path, name: str | None = None) -> tuple[Settings, Task, str]:
    """Return the settings, the task and the name of a fine-tune stage, as `train` and `plan` take them.

    Args:
        stage: a name in `STAGES`.
        given: settings that override those of the stage and of the run that it starts from. Without a name, model, variant
            and fold tell which run that is.
        runs: the folder of all runs.
        name: the run's name.

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


def plan(settings: Settings, task: Task, data: Path, runs: Path, name: str) -> Plan:
    """Check a run before anything of it is written; arguments are those of `hpa.training.train.train`.

    Raises:
        BadInput: if the tables, the start run or the run folder do not fit the settings.
    """
    folder = runs / name / settings.stage
    previous = STAGES[settings.stage].start
    start = folder.parent / previous if previous else None
    require_channels(settings.augmentation, len(task.channels))
    if not start:
        settings = with_intensity_range_of(folder, settings)
    require_same_run(folder, settings_config(settings, task))
    if start:
        require_finished(start)
        partition = read_partition(start, settings, task, data)
        require_table(start, partition.table)
    else:
        require_network(settings.model, settings.variant, settings.size, len(task.channels))
        _require_weights(settings.weights)
        begun = all((folder / file).exists() for file in ("config.json", "split.csv"))
        partition = read_partition(folder, settings, task, data) if begun else make_partition(settings, task, data)
        if not validates_as(folder, partition):
            raise BadInput(
                f"{folder / 'split.csv'}: missing, and one that is made anew has other validation rows than validation.npz; "
                "restore it, or delete the run folder and train again"
            )
        settings = with_intensity_range(settings, folder, task, data, runs, partition.sets["train"].ids)
    config = run_config(settings, task, partition.table, start and start / "model.keras")
    config["split_sha256"] = split_digest(settings, partition)
    require_same_run(folder, config)
    return Plan(folder, settings, start, partition, config)


def require_finished(start: Path) -> None:
    """Raise BadInput unless there is a finished run in `start`, with its own model."""
    config = read_settings(start)  # refuses a folder without a run
    if not is_finished(start):
        raise BadInput(f"{start}: has not all of its {config.epochs} epochs; run its command again first")
    if not (start / "model.keras").exists():
        raise BadInput(f"{start}: no model.keras; delete the folder and train it again")
    refuse(start, model_faults(start))


def _require_weights(weights: str | None) -> None:
    """Raise BadInput if a file of weights is absent or could be read from without end; what is in it Keras tells."""
    if weights in (None, "imagenet"):
        return
    require_plain(Path(weights))
    if not Path(weights).is_file():
        raise BadInput(f"weights {weights}: absent or a folder; name a file of weights", "weights")
