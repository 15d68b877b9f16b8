"""The folds of a run: run folders made alike but for the fold held out. Together they validate every row and are one model.

The folds of the run `0` are the runs `0`, `0-fold1`, `0-fold2` and so on; what each is made with is in its config.json.
"""

from collections.abc import Sequence
from pathlib import Path

from hpa.errors import refuse
from hpa.files import read_json
from hpa.settings import fold_name

# What may differ in the config.json of one run's folds: which one it is, and where and by which machine it was made.
OWN = {"fold", "split_sha256", "start_sha256", "svm", "data", "versions", "precision"}


def run_of(folder: Path) -> str:
    """Return the name of the run that a run folder `<runs>/<name>/<stage>` belongs to: without its fold, if it is a fold.

    What is a fold is told by its config.json; the name of a folder that says otherwise is a name like any other.
    """
    name = folder.parent.name
    config = _config_of_fold(folder)
    return fold_name(name, 0) if config and _is_named(folder, config) else name


def join_folds(folders: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the folders of each member of an ensemble by the member's name, in the order of the first of them.

    Folders that all hold out the same fold share their validation rows and are a member each, as is a folder of any other
    origin. Where several folds are among them, the folds of a run are one member, and all of them must be there.

    Raises:
        BadInput: naming every fold that is missing and the command that trains it, every fold that was made with other
            settings, another table or another split than the first fold of its run, and every folder whose name says
            another fold than its config.json.
    """
    configs = {folder: config for folder in folders if (config := _config_of_fold(folder))}
    if len({config["fold"] for config in configs.values()}) < 2:
        return {str(folder): [folder] for folder in folders}
    runs: dict[Path, dict[int, Path]] = {}
    faults = [_name_fault(folder, config["fold"]) for folder, config in configs.items() if not _is_named(folder, config)]
    for folder, config in configs.items():
        if _is_named(folder, config):
            runs.setdefault(_run_folder(folder), {}).setdefault(config["fold"], folder)
    for run in runs.values():
        faults += _faults_of_run(run, configs)
    refuse("where several folds are blended, all folds of a run must be there and be made alike", faults)
    members: dict[str, list[Path]] = {}
    for folder in folders:
        if folder in configs:
            run = _run_folder(folder)
            members[f"{run} ({len(runs[run])} folds)"] = [each for _, each in sorted(runs[run].items())]
        else:
            members[str(folder)] = [folder]
    return members


def _config_of_fold(folder: Path) -> dict | None:
    """Return the config.json of a run on one of several folds, None for a folder of any other origin."""
    file = folder / "config.json"
    config = read_json(file) if file.exists() else {}
    return config if all(isinstance(config.get(name), int) for name in ("fold", "folds")) else None


def _is_named(folder: Path, config: dict) -> bool:
    """Tell whether the name of a run says which fold its config.json holds out."""
    return fold_name(folder.parent.name, config["fold"]) == folder.parent.name


def _name_fault(folder: Path, fold: int) -> str:
    return f"{folder}: holds out fold {fold}, and its name says another; rename {folder.parent}, or delete it"


def _run_folder(folder: Path) -> Path:
    return folder.parent.parent / run_of(folder) / folder.name


def _fold_folder(folder: Path, fold: int) -> Path:
    return folder.parent.parent / fold_name(folder.parent.name, fold) / folder.name


def _faults_of_run(run: dict[int, Path], configs: dict[Path, dict]) -> list[str]:
    """Return what keeps the folds of a run, by their number, from being one member."""
    first = run[min(run)]
    wanted = configs[first]
    faults = []
    for fold in sorted(set(range(wanted["folds"])) - run.keys()):
        folder = _fold_folder(first, fold)
        config = _config_of_fold(folder)
        if config and not _is_named(folder, config):
            faults.append(f"fold {fold} of {wanted['folds']} is missing, and {_name_fault(folder, config['fold'])}")
        elif folder.exists():
            faults.append(f"{folder}: fold {fold} of {wanted['folds']} is not named; name all folds, or those of one number")
        else:
            command = _command(wanted, folder, fold)
            faults.append(
                f"{folder}: fold {fold} of {wanted['folds']} is missing; {command} and the options of {first} makes it"
            )
    for folder in run.values():
        own = configs[folder]
        names = sorted(name for name in (own.keys() | wanted.keys()) - OWN if own.get(name) != wanted.get(name))
        if names:
            settings = ", ".join(f"{name} {_shown(own.get(name))} in place of {_shown(wanted.get(name))}" for name in names)
            faults.append(
                f"{folder}: not made as {first} was ({settings}); delete it and train it with the settings of {first}"
            )
    return faults


def _command(config: dict, folder: Path, fold: int) -> str:
    """Return the command that makes the missing fold of a run like the one of `config`."""
    name, stage = folder.parent.name, folder.name
    if "svm" in config:
        kernel = config["svm"]["kernel"]
        return f"python -m hpa.svm --kernel {kernel} --name {name.removesuffix(f'-svm-{kernel}')}"
    if stage != "base":
        return f"python -m hpa.finetune --stage {stage} --name {name}"
    variant = "" if config.get("variant") is None else f" --variant {config['variant']}"
    return (
        f"python -m hpa.train --model {config.get('model')}{variant} --folds {config['folds']} --fold {fold} --name {name}"
    )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:8]}..."
