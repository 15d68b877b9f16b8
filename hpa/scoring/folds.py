"""The folds of a run: run folders that differ only in the fold held out. Together they validate every row.

The folds of the run `0` are the runs `0`, `0-fold1`, `0-fold2` and so on. The config.json of a folder says which fold it is,
not its name.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hpa.errors import refuse
from hpa.files import read_json
from hpa.settings import ADDED, today
from hpa.stages import fold_name, name_fault

# What may differ between the config.json of the folds of a run.
OWN = {"fold", "split_sha256", "start_sha256", "svm", "data", "versions", "precision", "augment_on"}


def run_of(folder: Path) -> str:
    """Return the name of the run that a run folder `<runs>/<name>/<stage>` belongs to: without its fold, if it is a fold."""
    config = _config_of_fold(folder)
    return (config and _run_name(folder, config)) or folder.parent.name


def join_folds(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the folders of each member of an ensemble by the member's name, in the order of their first folders.

    If the folders hold out several folds, the folds of a run are one member, and all of them must be there. If all hold out
    the same fold, they share their validation rows, and each is one member. So is each folder that is no run.

    Raises:
        BadInput: with every missing fold and the command that trains it, every fold with other settings, another table or
            another split than the first fold of its run, and every folder whose name contradicts its config.json.
    """
    configs = {folder: config for folder in folders if (config := _config_of_fold(folder))}
    if len({config["fold"] for config in configs.values()}) < 2:
        return {str(folder): [folder] for folder in folders}
    faults, runs = [], defaultdict[Path, dict[int, Path]](dict)
    for folder, config in configs.items():
        if run := _run_name(folder, config):
            runs[_sibling(folder, run)].setdefault(config["fold"], folder)
        else:
            faults.append(_name_fault(folder, config["fold"]))
    for own in runs.values():
        faults += _faults_of_run(own, configs)
    refuse("several folds are blended, so all folds of a run must be there and have the same settings", faults)
    members: dict[str, list[Path]] = {}
    for folder in folders:
        if folder in configs:
            path = _sibling(folder, run_of(folder))
            members[f"{path} ({len(runs[path])} folds)"] = [each for _, each in sorted(runs[path].items())]
        else:
            members[str(folder)] = [folder]
    return members


def _config_of_fold(folder: Path) -> dict[str, Any] | None:
    """Return the config.json of a run on one of several folds, None for a folder of any other origin."""
    file = folder / "config.json"
    config = ADDED | today(read_json(file)) if file.exists() else {}
    return config if all(isinstance(config.get(name), int) for name in ("fold", "folds")) else None


def _run_name(folder: Path, config: dict[str, Any], fold: int = 0) -> str | None:
    """Return the name of a fold of the run of a folder; None if the folder's own name contradicts its config."""
    name, head = folder.parent.name, config.get("svm")
    kernel = head.get("kernel") if isinstance(head, dict) else None
    stem = name.removesuffix(fold_name("", config["fold"], kernel))
    if name_fault(name, config["fold"], kernel) or fold_name(stem, config["fold"], kernel) != name:
        return None
    return fold_name(stem, fold, kernel)


def _sibling(folder: Path, name: str) -> Path:
    """Return the folder of the same stage of another run."""
    return folder.parents[1] / name / folder.name


def _name_fault(folder: Path, fold: int) -> str:
    return f"{folder}: holds out fold {fold}, but its name says another; rename or delete {folder.parent}"


def _faults_of_run(run: dict[int, Path], configs: dict[Path, dict[str, Any]]) -> list[str]:
    """Return why the folds of a run, by their number, cannot be one member."""
    first = run[min(run)]
    wanted = configs[first]
    faults = []
    for fold in sorted(set(range(wanted["folds"])) - run.keys()):
        folder = _sibling(first, _run_name(first, wanted, fold) or "")
        config = _config_of_fold(folder)
        if config and not _run_name(folder, config):
            faults.append(f"fold {fold} of {wanted['folds']} is missing, and {_name_fault(folder, config['fold'])}")
        elif folder.exists():
            fix = "name all folds, or only those with one number"
            faults.append(f"{folder}: fold {fold} of {wanted['folds']} is not named; {fix}")
        else:
            fix = f"{_command(wanted, folder, fold)} with the options of {first} makes it"
            faults.append(f"{folder}: fold {fold} of {wanted['folds']} is missing; {fix}")
    for folder in run.values():
        own = configs[folder]
        names = sorted(name for name in (own.keys() | wanted.keys()) - OWN if own.get(name) != wanted.get(name))
        if names:
            settings = ", ".join(f"{name} {_shown(own.get(name))} instead of {_shown(wanted.get(name))}" for name in names)
            fix = f"delete it and train it with the settings of {first}"
            faults.append(f"{folder}: other settings than {first} ({settings}); {fix}")
    return faults


def _command(config: dict[str, Any], folder: Path, fold: int) -> str:
    """Return the command that makes the missing fold of a run like the one of `config`."""
    name, stage = folder.parent.name, folder.name
    if "svm" in config:
        kernel, source = config["svm"]["kernel"], Path(config["svm"]["source"])
        own = folder.parents[1] / name.removesuffix(f"-svm-{kernel}") / source.name
        return f"hpa svm --kernel {kernel} --run {own}"
    if stage != "base":
        return f"hpa finetune --stage {stage} --name {name}"
    variant = "" if config.get("variant") is None else f" --variant {config['variant']}"
    return f"hpa train --model {config.get('model')}{variant} --folds {config['folds']} --fold {fold} --name {name}"


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:8]}..."
