"""Presets, named groups of settings: those of the two reports and our own. An option overrides its preset."""

from pathlib import Path
from typing import Any

from hpa.errors import BadInput, refuse
from hpa.files import read_json
from hpa.hardware import fastest_precision
from hpa.settings import DEFAULTS, NAMES, faults, today

FASTEST = "fastest"  # a precision: the one that `fastest_precision` returns
FOLDS = 5  # default for a base model on data without a validation set

# Each preset names its parent and what it sets to another value, as the files of `hpa.search` do. The settings' defaults are
# those of `report`.
# fmt: off
PRESETS: dict[str, dict[str, Any]] = {
    # The first report's base models.
    "report": {},
    # The second report's AlexNet.
    "alexnet": {
        "preset": "report", "model": "alexnet", "augmentation": "alexnet", "loss": "categorical-crossentropy",
        "batch_size": 4, "optimizer": "sgd", "schedule": "plateau",
    },
    # Ours for single cells with one label each.
    "cells": {
        "preset": "report",
        "model": "cellnet", "filters": (32, 64, 128, 256), "blocks": (1, 2, 2, 1), "kernel": 3, "dropout": 0.2,
        "size": 78, "augmentation": "cells", "mixing": "mix-up",
        "loss": "categorical-crossentropy", "label_smoothing": 0.05, "batch_size": 64, "precision": FASTEST,
        "optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 0.05, "ema_momentum": 0.995,
        "schedule": "cosine", "warm_up": 1,
    },
    # Ours for multi-label fields of cells with rare classes, with the report's network.
    "winner": {
        "preset": "report", "loss": "binary-crossentropy+soft-f1", "oversampling": 0.05,
        "optimizer": "adamw", "learning_rate": 2e-3, "weight_decay": 1e-2, "ema_momentum": 0.99,
        "schedule": "cosine", "warm_up": 1,
    },
    # Ours for few cells with one label each: ImageNet's weights go on learning.
    "transfer": {
        "preset": "cells",
        "model": "efficientnet-lite0", "weights": "imagenet", "size": 128, "mixing": "none",
        "batch_size": 32, "epochs": 20, "learning_rate": 1e-3, "weight_decay": 1e-2, "ema_momentum": 0.99,
        "unfreezing": 1, "first_layer_rate": 0.1,
    },
    # The same for multi-label fields.
    "transfer-fields": {
        "preset": "winner",
        "model": "efficientnet-lite0", "weights": "imagenet", "precision": FASTEST,
        "batch_size": 32, "learning_rate": 1e-3, "unfreezing": 1, "first_layer_rate": 0.1,
    },
    # What the competition's best did, for a GPU with 16 GB or more and the internet: large images, a large network.
    "winner-512": {
        "preset": "winner",
        "model": "densenet121", "weights": "imagenet", "size": 512, "precision": "mixed_bfloat16",
        "augmentation": "heavy", "loss": "focal+lovasz", "batch_size": 32, "epochs": 25,
        "learning_rate": 5e-4, "ema_momentum": 0.999, "first_layer_rate": 0.3,
    },
    # A first look on a laptop: small images, few of them.
    "quick": {
        "preset": "report", "size": 96, "rows": 2000, "epochs": 10, "batch_size": 32, "schedule": "cosine", "warm_up": 1,
    },
}
# fmt: on


def preset_settings(name: str, runs: Path = Path("runs")) -> dict[str, Any]:
    """Return the values of all settings in a preset of `PRESETS`, or of one that a search left in `<runs>/presets/`.

    Raises:
        BadInput: if there is no such preset, its file does not hold settings (all faults are named), or presets start from
            each other in a circle.
    """
    found: dict[str, Any] = {}
    passed = [name]
    while passed[-1] != "report":
        own = PRESETS.get(passed[-1]) or _read_preset(passed[-1], runs)
        found, parent = own | found, own["preset"]
        if parent in passed:
            circle = " -> ".join([*passed[passed.index(parent) :], parent])
            raise BadInput(
                f"{preset_file(runs, passed[-1])}: presets start from each other ({circle}); "
                "delete the file and search again"
            )
        passed.append(parent)
    values = DEFAULTS | {key: value for key, value in found.items() if key != "preset"}
    return values | ({"precision": fastest_precision()} if values["precision"] == FASTEST else {})


def _read_preset(name: str, runs: Path) -> dict[str, Any]:
    """Return what a search found and, as `preset`, the name of the preset that it started from."""
    file = preset_file(runs, name)
    if not file.exists():
        found = ", ".join(sorted(each.stem for each in file.parent.glob("*.json")))
        raise BadInput(f"no preset {name}; there are {', '.join(PRESETS)}{' and, from a search, ' + found if found else ''}")
    preset = today(read_json(file))
    if not isinstance(preset.get("preset"), str) or preset["preset"] == name:
        raise BadInput(f"{file}: does not name the preset that the search started from; delete the file and search again")
    wrong = [f"no setting {key}; delete the file and search again" for key in sorted(preset.keys() - {"preset", *NAMES})]
    wrong += [f"{fault}; correct it, or delete the file and search again" for fault in faults(preset)]
    refuse(file, wrong)
    return {key: tuple(value) if isinstance(value, list) else value for key, value in preset.items()}


def preset_file(runs: Path, name: str) -> Path:
    """Return the file in which a search leaves its best setting."""
    return runs / "presets" / f"{name}.json"
