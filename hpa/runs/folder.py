"""Run folders `<runs>/<name>/<stage>/`: where they are, how they are chosen, what they were made with."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpa.data.tables import SampleTable
from hpa.errors import BadInput, refuse
from hpa.files import file_digest, read_json, require_plain, write_json, written_whole
from hpa.hardware import versions
from hpa.labels import LABELS
from hpa.runs.monitor import has_stalled
from hpa.scoring.folds import run_of
from hpa.scoring.predictions import model_fault, read_predictions
from hpa.settings import NAMES, STAGES, Settings, faults, require_name, today
from hpa.tasks import Task, faults_of_task

# Settings that runs of earlier versions do not name, and what these runs had.
ADDED = {"intensity_range": None}


def run_folders(runs: Path, names: list[str] | None = None, stage: str = "last", all_folds: bool = True) -> list[Path]:
    """Return the chosen run folders, in a fixed order.

    Args:
        runs: the folder of all runs.
        names: the runs to take, such as `["0", "4"]`; all that are present if None.
        stage: a name in `STAGES`, `"last"` for the last stage that a run has, or `"all"`.
        all_folds: whether `"0"` names the runs `0-fold1`, `0-fold2` and so on too, if they are present and their config.json
            says that they are these folds.

    Raises:
        BadInput: if a name or the stage is not there, or nothing is.
    """
    present = {folder.name: _stages(folder) for folder in runs.glob("*") if _stages(folder)}
    if not present:
        raise BadInput(f"{runs}: no run folders here; train one first, or name another folder of runs")
    for name in names or ():
        if name not in present:
            raise BadInput(f"{runs}: no run named {name}; present are {', '.join(sorted(present, key=_order))}")
    ordered = sorted(present, key=_order)
    chosen = ordered if names is None else names
    if names and all_folds:
        own = (
            each for name in names for each in ordered if each == name or _is_fold_of(name, runs / each / present[each][0])
        )
        chosen = list(dict.fromkeys(own))
    folders = []
    for name in chosen:
        stages = present[name]
        wanted = {"last": stages[-1:], "all": stages}.get(stage, [stage])
        if not set(wanted) <= set(stages):
            raise BadInput(f"{runs / name}: no stage {stage}; present are {', '.join(stages)}")
        folders += [runs / name / each for each in wanted]
    return folders


def run_config(settings: Settings, task: Task, table: SampleTable, start_model: Path | None) -> dict[str, Any]:
    """Return all that a run's result depends on: settings, task, table, and the model of the stage that it starts from."""
    named = [settings.weights, *(each.strip() for each in (settings.groups or "").split(","))]
    files = {name: file_digest(Path(name)) for name in named if name and Path(name).is_file()}
    start = start_model and file_digest(start_model)
    own = settings_config(settings, task)
    digests = {"table_sha256": table_digest(table), "start_sha256": start, "files_sha256": files}
    return {"task": own.pop("task")} | digests | own


def settings_config(settings: Settings, task: Task) -> dict[str, Any]:
    """Return the part of `run_config` that is known without the data."""
    config: dict[str, Any] = json.loads(json.dumps({"task": asdict(task)} | asdict(settings)))  # tuples become lists
    return config


def require_same_run(folder: Path, config: dict[str, Any]) -> None:
    """Raise BadInput, naming the differences, if the folder holds a run of another `run_config`.

    The digest of split.csv counts only if config.json has one. Earlier versions wrote none.
    """
    if not (folder / "config.json").exists():
        return
    made = ADDED | {"split_sha256": config.get("split_sha256")} | today(read_json(folder / "config.json"))
    differences = [f"{name} {made.get(name)}, now {value}" for name, value in config.items() if made.get(name) != value]
    if differences:
        raise BadInput(
            f"{folder}: made with other settings ({'; '.join(differences)}); "
            "ask for the same ones, choose another folder of runs, or delete this folder"
        )


def require_own_name(folder: Path) -> None:
    """Raise BadInput if the name of a run ends as that of another fold, or of an SVM head, does."""
    head = _read_config(folder).get("svm")
    require_name(folder.parent.name, read_settings(folder).fold, head.get("kernel") if isinstance(head, dict) else None)


def require_table(folder: Path, table: SampleTable) -> None:
    """Raise BadInput unless the run in a folder was trained on this table."""
    if _read_config(folder).get("table_sha256") != table_digest(table):
        raise BadInput(f"{folder}: trained on another table; name the data folder that it was trained on")


def open_run(folder: Path, config: dict[str, Any], data: Path, preset: str | None = None) -> None:
    """Write the run's config.json, with its preset and the versions of the libraries, if there is none yet."""
    require_same_run(folder, config)
    if not (folder / "config.json").exists():
        named = {"preset": preset} if preset else {}
        write_json(folder / "config.json", {**named, **config, "data": str(data), "versions": versions()})


@contextmanager
def opened_run(folder: Path, config: dict[str, Any], data: Path, preset: str | None = None) -> Iterator[None]:
    """Do `open_run`, and undo it if the block fails without a result: config.json would block a corrected command."""
    new = not (folder / "config.json").exists()
    open_run(folder, config, data, preset)
    try:
        yield
    except Exception:
        if new and not any((folder / result).exists() for result in ("history.csv", "trials.csv")):
            for name in ("config.json", "split.csv"):
                (folder / name).unlink(missing_ok=True)
        raise


def read_settings(folder: Path) -> Settings:
    """Return the settings that the run in `folder` was made with.

    Raises:
        BadInput: if there is no run, or its config.json lacks a setting or holds a value that a setting cannot have.
    """
    config = ADDED | today(_read_config(folder))
    missing = [name for name in NAMES if name not in config]
    if missing:
        raise BadInput(
            f"{folder / 'config.json'}: lacks {', '.join(missing)}; this version of hpa.train did not write it; train again"
        )
    refuse(folder / "config.json", [f"{fault}; restore the file, or train again" for fault in faults(config)])
    return Settings(**{name: config[name] for name in NAMES})


def with_precision_of(folder: Path, settings: Settings) -> Settings:
    """Return settings with the precision of the run in `folder`, if there is one, maybe begun on another processor."""
    if not (folder / "config.json").exists():
        return settings
    return replace(settings, precision=read_settings(folder).precision)


def with_intensity_range(settings: Settings, folder: Path, task: Task, data: Path, runs: Path, ids: np.ndarray) -> Settings:
    """Return settings with an intensity range: their own, else that of the run in `folder`, else the measured one of the
    samples `ids` of `train/`.
    """
    if settings.intensity_range or (folder / "config.json").exists():
        return with_intensity_range_of(folder, settings)
    from hpa.data.intensity import range_of_training_set  # here, since it loads OpenCV

    return replace(settings, intensity_range=range_of_training_set(data, ids, task, runs))


def with_intensity_range_of(folder: Path, settings: Settings) -> Settings:
    """Return settings with the intensity range of the run in `folder`, if there is one and they have none."""
    if settings.intensity_range or not (folder / "config.json").exists():
        return settings
    return replace(settings, intensity_range=read_settings(folder).intensity_range)


def read_task_of(folder: Path) -> Task:
    """Return the task of the run in `folder`.

    Raises:
        BadInput: if there is no run, or its config.json does not hold a task.
    """
    file, found = folder / "config.json", _read_config(folder).get("task")
    if not isinstance(found, dict):
        raise BadInput(f"{file}: holds no task; this version of hpa.train did not write it")
    refuse(file, [f"task: {fault}; restore the file, or train again" for fault in faults_of_task(found)])
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
    return Task(**values)


def is_finished(folder: Path) -> bool:
    """Tell whether there is a run in `folder` that has all its epochs, or that early stopping has ended.

    Raises:
        BadInput: if config.json or history.csv is damaged, or the history has more epochs than the run.
    """
    if not (folder / "config.json").exists() or (history := read_history(folder)).empty:
        return False
    settings, monitor = read_settings(folder), read_task_of(folder).kind.monitor
    if len(history) > settings.epochs:
        raise BadInput(
            f"{folder / 'history.csv'}: has {len(history)} epochs, and config.json {settings.epochs}; "
            "restore them, or delete the run folder and train it again"
        )
    return len(history) == settings.epochs or has_stalled(history[monitor.best], settings.patience)


def require_model(folder: Path) -> None:
    """Raise BadInput unless a finished run has its model.keras and its validation.npz, and this was made by that model."""
    for name in ("model.keras", "validation.npz"):
        if not (folder / name).exists():
            fix = "restore it, or delete the folder and train it again"
            if name == "validation.npz":
                fix = f"hpa predict --runs {folder.parents[1]} --variants {folder.parent.name} writes it"
            raise BadInput(f"{folder}: is finished, but {name} is missing; {fix}")
    refuse(folder, model_faults(folder))


def model_faults(folder: Path) -> list[str]:
    """Return what is wrong with a run's model.keras: that it is missing, or that validation.npz was made by another one."""
    if not (folder / "model.keras").exists():
        return ["no model.keras; train it first"]
    file = folder / "validation.npz"
    fault = file.exists() and model_fault(file, read_predictions(file))
    return [f"{file.name}: {fault}"] if fault else []


def model_shape(settings: Settings, task: Task) -> tuple[int, int, int]:
    """Return the side and the channels of the images that a run's model takes, and the number of its classes."""
    return settings.size, len(task.channels), len(task.classes)


def data_of(folder: Path) -> Path:
    """Return the folder of the data that the run in `folder` was trained with, as its config.json names it."""
    return Path(str(_read_config(folder).get("data", "data")))


def best_score(folder: Path) -> float:
    """Return the validation score of the best epoch of the run in `folder`.

    Raises:
        BadInput: if no epoch is finished.
    """
    history = read_history(folder)
    if history.empty:
        raise BadInput(f"{folder}: no epoch is finished; train it first")
    return float(history[read_task_of(folder).kind.monitor.best].max())


def describe_best(folder: Path) -> str:
    """Return the best epoch of the run in `folder` and its validation score, in words."""
    history, monitor = read_history(folder), read_task_of(folder).kind.monitor
    best = history.loc[history[monitor.best].idxmax()]
    return f"best epoch {best['epoch']:.0f} of {len(history)}, validation {monitor.name} {best[monitor.best]:.4f}"


def table_digest(table: SampleTable) -> str:
    """Return the SHA-256 of the ids and targets, which differs from one training table to another."""
    return hashlib.sha256("\n".join(table.ids).encode() + table.known_targets.tobytes()).hexdigest()


def read_history(folder: Path, columns: Collection[str] = ()) -> pd.DataFrame:
    """Return the finished epochs of the run in `folder`, a row each; empty if there are none.

    Args:
        folder: the run folder.
        columns: what it must have, apart from the epoch and the monitored score.

    Raises:
        BadInput: if history.csv is damaged or another task's.
    """
    file = folder / "history.csv"
    if not file.exists():
        return pd.DataFrame()
    require_plain(file)
    monitors = [kind.monitor for kind in LABELS.values()]
    if (folder / "config.json").exists():
        monitors = [read_task_of(folder).kind.monitor]
    try:
        history = pd.read_csv(file, float_precision="round_trip")
        sound = [
            any(monitor.best in history for monitor in monitors),
            set(columns) <= set(history),
            history["epoch"].tolist() == list(range(1, len(history) + 1)),
            all(kind.kind in "iuf" for kind in history.dtypes),
            np.isfinite(history.to_numpy(np.float64)).all(),
        ]
        if all(sound):
            return history
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, TypeError, KeyError, OverflowError):
        pass
    raise BadInput(f"{file}: damaged, not a table of this run's epochs; delete the run folder and train it again")


def write_history(folder: Path, history: pd.DataFrame) -> None:
    """Write history.csv, whole or not at all, with all digits of the numbers."""
    with written_whole(folder / "history.csv") as temporary:
        history.to_csv(temporary, index=False, lineterminator="\n")


def _read_config(folder: Path) -> dict[str, Any]:
    if not (folder / "config.json").exists():
        stages = _stages(folder)
        if not stages:
            raise BadInput(f"{folder}: no such run; train it first")
        one = f"the stage {stages[0]}; name it, as {folder / stages[0]}"
        several = f"the stages {', '.join(stages)}; name one of them, such as {folder / stages[0]}"
        raise BadInput(f"{folder}: holds {several if len(stages) > 1 else one}")
    return read_json(folder / "config.json")


def _stages(folder: Path) -> list[str]:
    return [stage for stage in STAGES if (folder / stage / "config.json").exists()]


def _is_fold_of(name: str, folder: Path) -> bool:
    # The start of the name comes first: a damaged config.json of a run that is not asked for does no harm.
    return folder.parent.name.startswith(f"{name.partition('-svm-')[0]}-fold") and run_of(folder) == name


def _order(name: str) -> list[int | str]:
    """Sort numbers by their size and before words, and folds after each other."""
    return [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", name)]
