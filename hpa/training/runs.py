"""Run folders `<runs>/<name>/<stage>/`: where they lie, which of them an option chooses, what they were made with."""

import hashlib
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from hpa import __version__
from hpa.data.tables import SampleTable
from hpa.errors import BadInput
from hpa.files import read_json, write_json, written_whole
from hpa.training.stages import STAGES, Settings

PACKAGES = ("tensorflow", "keras", "numpy", "pyimgaug", "opencv-python")


def run_folders(runs: Path, names: list[str] | None = None, stage: str = "last") -> list[Path]:
    """Return the run folders that a choice names, in a fixed order.

    Args:
        runs: the folder of all runs.
        names: the runs to take, such as `["0", "4"]`; all that are present if None.
        stage: a name in `STAGES`, `"last"` for the last stage that a run has, or `"all"`.

    Raises:
        BadInput: if a name or the stage is not there, or nothing is.
    """
    present = {folder.name: _stages(folder) for folder in runs.glob("*") if _stages(folder)}
    if not present:
        raise BadInput(f"{runs}: no run folders here; train one first, or name another folder with --runs")
    for name in names or ():
        if name not in present:
            raise BadInput(f"{runs}: no run named {name}; present are {', '.join(sorted(present, key=_order))}")
    folders = []
    for name in names or sorted(present, key=_order):
        stages = present[name]
        wanted = {"last": stages[-1:], "all": stages}.get(stage, [stage])
        if not set(wanted) <= set(stages):
            raise BadInput(f"{runs / name}: no stage {stage}; present are {', '.join(stages)}")
        folders += [runs / name / each for each in wanted]
    return folders


def open_run(folder: Path, settings: Settings, task: str, data: Path, table: SampleTable) -> None:
    """Write the run's config.json, or see that the one that is there asks for the same.

    Raises:
        BadInput: if the folder holds a run with other settings or of another table, naming the differences.
    """
    asked = {"task": task, "table_sha256": table_digest(table), **asdict(settings)}
    if not (folder / "config.json").exists():
        versions = {"python": platform.python_version(), "hpa": __version__, **{name: version(name) for name in PACKAGES}}
        write_json(folder / "config.json", {**asked, "data": str(data), "versions": versions})
        return
    made = read_json(folder / "config.json")
    differences = [f"{name} {made.get(name)}, now {value}" for name, value in asked.items() if made.get(name) != value]
    if differences:
        raise BadInput(
            f"{folder}: made with other settings ({'; '.join(differences)}); "
            "ask for the same ones, choose another --runs, or delete this folder"
        )


def read_settings(folder: Path) -> Settings:
    """Return the settings that the run in `folder` was made with.

    Raises:
        BadInput: if there is no run, or its config.json lacks a setting.
    """
    if not (folder / "config.json").exists():
        raise BadInput(f"{folder}: no such run; train it first")
    config = read_json(folder / "config.json")
    missing = [name for name in Settings.__dataclass_fields__ if name not in config]
    if missing:
        raise BadInput(f"{folder / 'config.json'}: lacks {', '.join(missing)}; it was not written by hpa.train")
    return Settings(**{name: config[name] for name in Settings.__dataclass_fields__})


def is_finished(folder: Path) -> bool:
    """Tell whether the run in `folder` has all its epochs behind it."""
    return len(read_history(folder)) == read_settings(folder).epochs


def describe_best(folder: Path) -> str:
    """Return the best epoch of the run in `folder` and its validation macro F1, in words."""
    history = read_history(folder)
    best = history.loc[history["validation_f1_best"].idxmax()]
    return f"best epoch {best['epoch']:.0f} of {len(history)}, validation macro F1 {best['validation_f1_best']:.4f}"


def table_digest(table: SampleTable) -> str:
    """Return the SHA-256 of the ids and targets, which tells one training table from another."""
    return hashlib.sha256("\n".join(table.ids).encode() + table.targets.tobytes()).hexdigest()


def read_history(folder: Path) -> pd.DataFrame:
    """Return the finished epochs of the run in `folder`, a row each; empty if there are none."""
    file = folder / "history.csv"
    return pd.read_csv(file, float_precision="round_trip") if file.exists() else pd.DataFrame()


def write_history(folder: Path, history: pd.DataFrame) -> None:
    """Write history.csv, whole or not at all; the numbers can be read back exactly."""
    with written_whole(folder / "history.csv") as temporary:
        history.to_csv(temporary, index=False, lineterminator="\n")


def _stages(folder: Path) -> list[str]:
    return [stage for stage in STAGES if (folder / stage / "config.json").exists()]


def _order(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (10**9, name)
