"""Run folders `<runs>/<name>/<stage>/`: where they are, how they are chosen, what they were made with."""

import hashlib
import itertools
import json
import os
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
from hpa.files import file_digest, read_json, require_plain, write_csv, write_json
from hpa.hardware import versions
from hpa.labels import LABELS
from hpa.registry import AUGMENTATIONS
from hpa.runs.monitor import has_stalled
from hpa.scoring.folds import run_of
from hpa.scoring.predictions import model_fault, read_predictions
from hpa.settings import ADDED, NAMES, Settings, faults, today
from hpa.stages import STAGES, require_name
from hpa.tasks import OPTIONAL, Task, make_task

BEST = ("model.keras", "validation.npz")  # of the best epoch
UNSETTLED = "was stopped before its best epoch took the place of the one before; run its command again first"
# Columns of history.csv that differ if an epoch is done again: its time with validation, and the images it learned from.
TIMES = ("seconds", "images_per_second")


def run_folders(runs: Path, names: list[str] | None = None, stage: str = "last") -> list[Path]:
    """Return the chosen run folders, in a fixed order; BadInput if a name or the stage is not there, or nothing is.

    Args:
        runs: the folder of all runs.
        names: the runs to take, such as `["0", "4"]`; all that are there if None. `"0"` names the runs `0-fold1`, `0-fold2`
            and so on too, if their config.json say that they are its folds.
        stage: a name in `STAGES`, `"last"` for the last stage that a run has, or `"all"`.
    """
    present = {folder.name: _stages(folder) for folder in runs.glob("*") if _stages(folder)}
    if not present:
        raise BadInput(f"{runs}: no run folders here; train one first, or name another folder of runs")
    ordered = sorted(present, key=_order)
    chosen = ordered if names is None else names
    for name in chosen:
        if name not in present:
            raise BadInput(f"{runs}: no run named {name}; present are {', '.join(ordered)}")
    if names:
        pairs = itertools.product(names, ordered)
        own = (each for name, each in pairs if each == name or _is_fold_of(name, runs / each / present[each][0]))
        chosen = list(dict.fromkeys(own))
    folders = []
    for name in chosen:
        stages = present[name]
        wanted = {"last": stages[-1:], "all": stages}.get(stage, [stage])
        if not set(wanted) <= set(stages):
            raise BadInput(f"{runs / name}: no stage {stage}; present are {', '.join(stages)}")
        folders += [runs / name / each for each in wanted]
    return folders


def with_its_name(folder: Path) -> Path:
    """Return the path of a run folder with the names of run and stage in it, which `.` and `base` in the run do not have."""
    nameless = {folder.name, folder.parent.name} & {"", ".."} and (folder / "config.json").exists()
    return Path(os.path.abspath(folder)) if nameless else folder


def folds_of(folder: Path) -> list[Path]:
    """Return the folders of all folds of the run of a folder, of the same stage."""
    return run_folders(folder.parents[1], [run_of(folder)], folder.name)


def run_config(settings: Settings, task: Task, table: SampleTable, start_model: Path | None) -> dict[str, Any]:
    """Return all that the result of a run depends on: settings, task, table, and the model of the stage before."""
    named = [settings.weights, *(each.strip() for each in (settings.groups or "").split(","))]
    files = {name: file_digest(Path(name)) for name in named if name and Path(name).is_file()}
    start = start_model and file_digest(start_model)
    own = settings_config(settings, task)
    digests = {"table_sha256": table_digest(table), "start_sha256": start, "files_sha256": files}
    return {"task": own.pop("task")} | digests | own


def settings_config(settings: Settings, task: Task) -> dict[str, Any]:
    """Return the part of `run_config` that does not depend on the data."""
    config: dict[str, Any] = json.loads(json.dumps({"task": asdict(task)} | asdict(settings)))  # tuples become lists
    for key in OPTIONAL:
        if not getattr(task, key):  # as before there were these keys
            del config["task"][key]
    return config


def require_same_run(folder: Path, config: dict[str, Any]) -> None:
    """Raise BadInput, naming the differences, if the folder holds a run of another `run_config`.

    The digest of split.csv counts only if config.json has one. Earlier versions wrote none. With other colours of its
    channels a run stays the same.
    """
    if not (folder / "config.json").exists():
        return
    made = ADDED | {"split_sha256": config.get("split_sha256")} | today(read_json(folder / "config.json"))
    made, config = ({**each, "task": {**each.get("task", {}), "colours": None}} for each in (made, config))
    if differences := [f"{key} {made.get(key)}, now {value}" for key, value in config.items() if made.get(key) != value]:
        fix = "ask for the same ones, choose another folder of runs, or delete this folder"
        raise BadInput(f"{folder}: made with other settings ({'; '.join(differences)}); {fix}")


def require_augmentation(folder: Path, name: str) -> None:
    """Raise BadInput if an unfinished run began with another version of its augmentation, which gives other images."""
    if not (folder / "config.json").exists() or is_finished(folder):
        return
    versions = read_json(folder / "config.json").get("versions", {})
    begun, now = versions.get("augmentation", "1"), str(AUGMENTATIONS.find(name).version)
    if begun != now:
        raise BadInput(
            f"{folder}: begun by hpa {versions.get('hpa')} with version {begun} of augmentation {name}, now {now}, which "
            "gives other images for a seed; finish it with that hpa, or delete this folder and train again"
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
        made_with = versions()
        if "augmentation" in config:
            made_with["augmentation"] = str(AUGMENTATIONS.find(config["augmentation"]).version)
        own = {"preset": preset} if preset else {}
        write_json(folder / "config.json", own | config | {"data": str(data), "versions": made_with})


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
    """Return the settings of the run in `folder`; BadInput if there is no run, or its config.json is faulty."""
    config = ADDED | today(_read_config(folder))
    if missing := [name for name in NAMES if name not in config]:
        fix = "this version of hpa.train did not write it; train again"
        raise BadInput(f"{folder / 'config.json'}: lacks {', '.join(missing)}; {fix}")
    refuse(folder / "config.json", [f"{fault}; restore the file, or train again" for fault in faults(config)])
    return Settings(**{name: config[name] for name in NAMES})


def as_begun(settings: Settings, folder: Path, *names: str) -> Settings:
    """Return settings with the values of some `names` from the run in `folder`, if it was begun."""
    if not (folder / "config.json").exists():
        return settings
    begun = read_settings(folder)
    return replace(settings, **{name: getattr(begun, name) for name in names})


def with_intensity_range(settings: Settings, folder: Path, task: Task, data: Path, runs: Path, ids: np.ndarray) -> Settings:
    """Return settings with their intensity range, else that of the run in `folder`, else that of the samples `ids`."""
    if settings.intensity_range or (folder / "config.json").exists():
        return settings if settings.intensity_range else as_begun(settings, folder, "intensity_range")
    from hpa.data.intensity import range_of_training_set  # here, since it loads OpenCV

    return replace(settings, intensity_range=range_of_training_set(data, ids, task, runs))


def read_task_of(folder: Path) -> Task:
    """Return the task of the run in `folder`; BadInput if there is no run, or its config.json does not hold a task."""
    file, found = folder / "config.json", _read_config(folder).get("task")
    if not isinstance(found, dict):
        raise BadInput(f"{file}: holds no task; this version of hpa.train did not write it")
    return make_task(file, found, "task: {}; restore the file, or train again")


def is_finished(folder: Path) -> bool:
    """Tell whether there is a run in `folder` that has all its epochs, or that early stopping has ended.

    BadInput is raised if config.json or history.csv is damaged, or the history has more epochs than the run.
    """
    if not (folder / "config.json").exists() or (history := read_history(folder)).empty:
        return False
    settings, monitor = read_settings(folder), read_task_of(folder).kind.monitor
    if len(history) > settings.epochs:
        fix = "restore them, or delete the run folder and train it again"
        raise BadInput(f"{folder / 'history.csv'}: has {len(history)} epochs, and config.json {settings.epochs}; {fix}")
    return len(history) == settings.epochs or has_stalled(history[monitor.best], settings.patience)


def unsettled(folder: Path) -> dict[Path, int]:
    """Return the files in a run folder that wait for `hpa.training.fit.settle`, and the epoch of each."""
    files = [file for name in BEST for file in folder.glob(of_epoch(name, "*"))]
    epochs = {file: file.stem.rpartition("-")[2] for file in files}
    return {file: int(epoch) for file, epoch in epochs.items() if epoch.isdecimal()}


def of_epoch(name: str, epoch: int | str) -> str:
    """Return the name that a file of the best epoch has before it takes the place of the one before."""
    return f"{Path(name).stem}-{epoch}{Path(name).suffix}"


def is_settled(folder: Path) -> bool:
    """Tell whether the run in `folder` is finished and nothing is left to do, as after a kill; see `is_finished`."""
    whole = all((folder / name).exists() for name in ("curves.png", "split.csv"))
    return whole and is_finished(folder) and not unsettled(folder) and not any(folder.glob("state-*.keras"))


def require_finished(folder: Path, predicted: bool = False) -> None:
    """Raise BadInput unless a run has all its epochs and its own model.keras and, if `predicted`, its validation.npz."""
    epochs = read_settings(folder).epochs  # raises if there is no run
    if not is_finished(folder):
        raise BadInput(f"{folder}: has not all of its {epochs} epochs; run its command again first")
    if unsettled(folder):
        raise BadInput(f"{folder}: {UNSETTLED}")
    writes = f"hpa predict --run {folder} writes it"
    fixes = {"model.keras": "restore it, or delete the folder and train it again", "validation.npz": writes}
    for name, fix in fixes.items():
        if predicted and not (folder / name).exists():
            raise BadInput(f"{folder}: is finished, but {name} is missing; {fix}")
    refuse(folder, model_faults(folder))


def model_faults(folder: Path) -> list[str]:
    """Return what is wrong with a run's model.keras: it is missing, or validation.npz was made by another one."""
    if not (folder / "model.keras").exists():
        return ["no model.keras; train it first"]
    file = folder / "validation.npz"
    fault = file.exists() and model_fault(file, read_predictions(file))
    if fault and unsettled(folder):
        return [UNSETTLED]
    return [f"{file.name}: {fault}"] if fault else []


def model_shape(settings: Settings, task: Task) -> tuple[int, int, int]:
    """Return the side and the channels of the images that a run's model takes, and the number of its classes."""
    return settings.size, len(task.channels), len(task.classes)


def data_of(folder: Path) -> Path:
    """Return the folder of the data that the run in `folder` was trained with, as its config.json names it."""
    return Path(str(_read_config(folder).get("data", "data")))


def best_score(folder: Path) -> float:
    """Return the validation score of the best epoch of the run in `folder`; BadInput if none is finished."""
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

    BadInput is raised if history.csv is damaged, another task's, or lacks one of `columns`.
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
    write_csv(folder / "history.csv", history)


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
    # The name is compared first, so that a damaged config.json of another run does no harm.
    return folder.parent.name.startswith(f"{name.partition('-svm-')[0]}-fold") and run_of(folder) == name


def _order(name: str) -> list[int | str]:
    """Return a key that sorts numbers by size and before words, and folds by number."""
    return [int(part) if part.isdecimal() else part for part in re.split("([0-9]+)", name)]
