"""Named bundles of settings: the two reports' ways and our own. An option overrides what a preset says."""

from dataclasses import fields
from pathlib import Path

from hpa.allowed import value_faults
from hpa.errors import BadInput, refuse
from hpa.files import read_json
from hpa.settings import Settings
from hpa.tasks import Task

PROCESSOR = Path("/proc/cpuinfo")
FOLDS = 5  # of a base model on data without a validation set of its own, if nothing is said


def fastest_precision() -> str:
    """Return the precision, one of `PRECISIONS`, for convolutions of 32 filters or more on this machine's processor.

    With matrix units for bfloat16 a CellNet trains about twice as fast in it; without them bfloat16 is emulated, and slow.
    """
    units = PROCESSOR.exists() and "amx_bf16" in PROCESSOR.read_text().split()
    return "mixed_bfloat16" if units else "float32"


REPORT = {
    "model": "gapnet",
    "variant": None,
    "filters": None,
    "blocks": None,
    "kernel": None,
    "dropout": None,
    "activation": "relu",
    "weights": None,
    "stage": "base",
    "part": "all",
    "size": 256,
    "intensity_range": None,
    "folds": None,
    "fold": 0,
    "split_seed": 0,
    "groups": None,
    "external_weight": 0.0,
    "rows": None,
    "precision": "float32",
    "seed": 0,
    "epochs": 40,
    "batch_size": 128,
    "optimizer": "adam",
    "learning_rate": 1e-3,
    "schedule": "constant",
    "warm_up": 0,
    "patience": 0,
    "weight_decay": 0.0,
    "clip_norm": 0.0,
    "averaging": 0.0,
    "label_smoothing": 0.0,
    "loss": "binary-crossentropy",
    "positive_weights": "none",
    "class_weights": "none",
    "oversampling": 0.0,
    "augmentation": "report",
    "mixing": "none",
    "progressive_resizing": 0.0,
}
PRESETS = {
    # The first report's base models.
    "report": REPORT,
    # The second report's AlexNet.
    "alexnet": REPORT
    | {
        "model": "alexnet",
        "batch_size": 4,
        "optimizer": "sgd",
        "schedule": "plateau",
        "loss": "categorical-crossentropy",
        "augmentation": "alexnet",
    },
    # Our way for single cells with one label each.
    "cells": REPORT
    | {
        "model": "cellnet",
        "filters": (32, 64, 128, 256),
        "blocks": (1, 2, 2, 1),
        "kernel": 3,
        "dropout": 0.2,
        "size": 78,
        "precision": fastest_precision(),
        "batch_size": 64,
        "optimizer": "adamw",
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "warm_up": 1,
        "weight_decay": 0.05,
        "averaging": 0.995,
        "label_smoothing": 0.05,
        "loss": "categorical-crossentropy",
        "augmentation": "cells",
        "mixing": "mix-up",
    },
    # Our way for fields of cells with many labels and rare classes, with the report's network.
    "winner": REPORT
    | {
        "optimizer": "adamw",
        "learning_rate": 2e-3,
        "schedule": "cosine",
        "warm_up": 1,
        "weight_decay": 1e-2,
        "averaging": 0.99,
        "loss": "binary-crossentropy+soft-f1",
        "oversampling": 0.05,
    },
    # A first look on a laptop: small images, few of them.
    "quick": REPORT
    | {
        "size": 96,
        "rows": 2000,
        "epochs": 10,
        "batch_size": 32,
        "schedule": "cosine",
        "warm_up": 1,
    },
}


def preset_name(name: str | None, task: Task) -> str:
    """Return the name of a preset; if none is given, of the task's own: cells where a sample has one label, else report."""
    return name or ("cells" if task.labels == "one" else "report")


def find_preset(name: str | None, task: Task, runs: Path) -> dict:
    """Return the settings of a preset.

    Args:
        name: a name in `PRESETS`, or of a setting that `hpa.search` found, `<runs>/presets/<name>.json`, which holds the
            name of the preset that the search started from and what it found; None for the task's own.
        task: what is classified.
        runs: the folder of all runs.

    Raises:
        BadInput: if there is no such preset, its file does not hold settings (all faults are named), or presets start from
            each other in a circle.
    """
    name, found, passed = preset_name(name, task), {}, []
    while name not in PRESETS:
        passed.append(name)
        name, settings = _read_preset(name, runs)
        if name in passed:
            circle = " -> ".join([*passed[passed.index(name) :], name])
            raise BadInput(
                f"{preset_file(runs, passed[-1])}: presets start from each other ({circle}); "
                "delete the file and search again"
            )
        found = settings | found
    return PRESETS[name] | found


def _read_preset(name: str, runs: Path) -> tuple[str, dict]:
    """Return the preset that a search started from, and the settings that it found."""
    file = preset_file(runs, name)
    if not file.exists():
        found = ", ".join(sorted(each.stem for each in file.parent.glob("*.json")))
        raise BadInput(f"no preset {name}; there are {', '.join(PRESETS)}{' and, from a search, ' + found if found else ''}")
    preset = read_json(file)
    known = {field.name for field in fields(Settings)}
    start = preset.pop("preset", None)
    if not isinstance(start, str) or start == name:
        raise BadInput(f"{file}: does not name the preset that the search started from; delete the file and search again")
    faults = [f"no setting {key}; delete the file and search again" for key in sorted(preset.keys() - known)]
    faults += [f"{fault}; correct it, or delete the file and search again" for fault in value_faults(preset)]
    refuse(file, faults)
    return start, {key: tuple(value) if isinstance(value, list) else value for key, value in preset.items()}


def preset_file(runs: Path, name: str) -> Path:
    """Return the file in which a search leaves its best setting."""
    return runs / "presets" / f"{name}.json"
