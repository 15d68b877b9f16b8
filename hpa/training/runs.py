"""Run folders `<runs>/<name>/<stage>/`: where they lie, which of them an option chooses, what they were made with."""

import hashlib
import json
import platform
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd

from hpa import __version__
from hpa.data.intensity import range_of_training_set
from hpa.data.tables import SampleTable
from hpa.errors import BadInput
from hpa.files import file_digest, read_json, write_json, written_whole
from hpa.scoring.folds import fold_name
from hpa.tasks import Task
from hpa.training.monitor import MONITORS, has_stalled
from hpa.training.stages import STAGES, Settings

PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "pyimgaug", "opencv-python")


def run_folders(runs: Path, names: list[str] | None = None, stage: str = "last", all_folds: bool = True) -> list[Path]:
    """Return the run folders that a choice names, in a fixed order.

    Args:
        runs: the folder of all runs.
        names: the runs to take, such as `["0", "4"]`; all that are present if None.
        stage: a name in `STAGES`, `"last"` for the last stage that a run has, or `"all"`.
        all_folds: whether `"0"` names the runs `0-fold1`, `0-fold2` and so on too, if they are present.

    Raises:
        BadInput: if a name or the stage is not there, or nothing is.
    """
    present = {folder.name: _stages(folder) for folder in runs.glob("*") if _stages(folder)}
    if not present:
        raise BadInput(f"{runs}: no run folders here; train one first, or name another folder with --runs")
    for name in names or ():
        if name not in present:
            raise BadInput(f"{runs}: no run named {name}; present are {', '.join(sorted(present, key=_order))}")
    ordered = sorted(present, key=_order)
    chosen = ordered if names is None else names
    if names and all_folds:
        chosen = dict.fromkeys(each for name in names for each in ordered if name in (each, fold_name(each, 0)))
    folders = []
    for name in chosen:
        stages = present[name]
        wanted = {"last": stages[-1:], "all": stages}.get(stage, [stage])
        if not set(wanted) <= set(stages):
            raise BadInput(f"{runs / name}: no stage {stage}; present are {', '.join(stages)}")
        folders += [runs / name / each for each in wanted]
    return folders


def run_config(settings: Settings, task: Task, table: SampleTable, start_model: Path | None) -> dict:
    """Return all that a run's result depends on: settings, task, table, and the model of the stage that it starts from."""
    named = [settings.weights, *(each.strip() for each in (settings.groups or "").split(","))]
    files = {name: file_digest(Path(name)) for name in named if name and Path(name).is_file()}
    start = start_model and file_digest(start_model)
    config = {"task": asdict(task), "table_sha256": table_digest(table), "start_sha256": start, "files_sha256": files}
    config |= asdict(settings)
    return json.loads(json.dumps(config))  # tuples become the lists that they are in the file


def require_same_run(folder: Path, config: dict) -> None:
    """Raise BadInput, naming the differences, if the folder holds a run of another `run_config`."""
    if not (folder / "config.json").exists():
        return
    made = read_json(folder / "config.json")
    differences = [f"{name} {made.get(name)}, now {value}" for name, value in config.items() if made.get(name) != value]
    if differences:
        raise BadInput(
            f"{folder}: made with other settings ({'; '.join(differences)}); "
            "ask for the same ones, choose another --runs, or delete this folder"
        )


def require_table(folder: Path, table: SampleTable) -> None:
    """Raise BadInput unless the run in a folder was trained on this table."""
    if _read_config(folder).get("table_sha256") != table_digest(table):
        raise BadInput(f"{folder}: trained on another table; name the --data that it was trained on")


def open_run(folder: Path, config: dict, data: Path, preset: str | None = None) -> None:
    """Write the run's config.json, with the preset that it is of and the versions it is made by, if there is none yet."""
    require_same_run(folder, config)
    if not (folder / "config.json").exists():
        versions = {"python": platform.python_version(), "hpa": __version__, **{name: version(name) for name in PACKAGES}}
        named = {"preset": preset} if preset else {}
        write_json(folder / "config.json", {**named, **config, "data": str(data), "versions": versions})


def read_settings(folder: Path) -> Settings:
    """Return the settings that the run in `folder` was made with.

    Raises:
        BadInput: if there is no run, or its config.json lacks a setting.
    """
    config = _read_config(folder)
    missing = [name for name in Settings.__dataclass_fields__ if name not in config]
    if missing:
        raise BadInput(
            f"{folder / 'config.json'}: lacks {', '.join(missing)}; this version of hpa.train did not write it; train again"
        )
    return Settings(**{name: _with_tuples(config[name]) for name in Settings.__dataclass_fields__})


def with_precision_of(folder: Path, settings: Settings) -> Settings:
    """Return settings with the precision of the run in `folder`, if one was begun, maybe on another processor."""
    if not (folder / "config.json").exists():
        return settings
    return replace(settings, precision=read_settings(folder).precision)


def with_intensity_range(settings: Settings, folder: Path, task: Task, data: Path, runs: Path, ids: np.ndarray) -> Settings:
    """Return settings with an intensity range: that which is stated, or else of the run in `folder`, if one was begun, or
    else as measured over the samples `ids` of `train/`.
    """
    if settings.intensity_range:
        return settings
    if (folder / "config.json").exists():
        return replace(settings, intensity_range=read_settings(folder).intensity_range)
    return replace(settings, intensity_range=range_of_training_set(data, ids, task, runs))


def read_task_of(folder: Path) -> Task:
    """Return the task of the run in `folder`.

    Raises:
        BadInput: if there is no run, or its config.json does not hold a task.
    """
    config = _read_config(folder)
    try:
        return Task(**{name: _with_tuples(value) for name, value in config["task"].items()})
    except (KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder / 'config.json'}: holds no task; this version of hpa.train did not write it") from error


def is_finished(folder: Path) -> bool:
    """Tell whether there is a run in `folder` and it has all its epochs behind it, or ended early for lack of progress."""
    if not (folder / "config.json").exists() or (history := read_history(folder)).empty:
        return False
    settings, monitor = read_settings(folder), MONITORS[read_task_of(folder).labels]
    return len(history) == settings.epochs or has_stalled(history[monitor.best], settings.patience)


def describe_best(folder: Path) -> str:
    """Return the best epoch of the run in `folder` and its validation score, in words."""
    history, monitor = read_history(folder), MONITORS[read_task_of(folder).labels]
    best = history.loc[history[monitor.best].idxmax()]
    return f"best epoch {best['epoch']:.0f} of {len(history)}, validation {monitor.name} {best[monitor.best]:.4f}"


def table_digest(table: SampleTable) -> str:
    """Return the SHA-256 of the ids and targets, which tells one training table from another."""
    return hashlib.sha256("\n".join(table.ids).encode() + table.targets.tobytes()).hexdigest()


def read_history(folder: Path) -> pd.DataFrame:
    """Return the finished epochs of the run in `folder`, a row each; empty if there are none.

    Raises:
        BadInput: if history.csv is damaged.
    """
    file = folder / "history.csv"
    if not file.exists():
        return pd.DataFrame()
    try:
        history = pd.read_csv(file, float_precision="round_trip")
        scored = any(monitor.best in history for monitor in MONITORS.values())
        if scored and history["epoch"].tolist() == list(range(1, len(history) + 1)) and history.notna().all(axis=None):
            return history
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, KeyError):
        pass
    raise BadInput(f"{file}: damaged, not a table of epochs; delete the run folder and train it again")


def write_history(folder: Path, history: pd.DataFrame) -> None:
    """Write history.csv, whole or not at all; the numbers can be read back exactly."""
    with written_whole(folder / "history.csv") as temporary:
        history.to_csv(temporary, index=False, lineterminator="\n")


def _read_config(folder: Path) -> dict:
    if not (folder / "config.json").exists():
        stages = _stages(folder)
        if not stages:
            raise BadInput(f"{folder}: no such run; train it first")
        one = f"the stage {stages[0]}; name it, as {folder / stages[0]}"
        several = f"the stages {', '.join(stages)}; name one of them, such as {folder / stages[0]}"
        raise BadInput(f"{folder}: holds {several if len(stages) > 1 else one}")
    return read_json(folder / "config.json")


def _with_tuples(value: object) -> object:
    return tuple(map(_with_tuples, value)) if isinstance(value, list) else value


def _stages(folder: Path) -> list[str]:
    return [stage for stage in STAGES if (folder / stage / "config.json").exists()]


def _order(name: str) -> tuple[int, str, int, str]:
    """Sort numbers by their size and before words, and folds after each other."""
    run = fold_name(name, 0)
    return (int(run), "", len(name), name) if run.isdecimal() else (10**9, run, len(name), name)
