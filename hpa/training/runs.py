"""Run folders: where they lie, and which of them an option chooses."""

from pathlib import Path

from hpa.errors import BadInput

STAGES = ("base", "cnn", "dnn", "dnn2")


def run_folders(runs: Path, names: list[str] | None = None, stage: str = "last") -> list[Path]:
    """Return the run folders `<runs>/<name>/<stage>` that a choice names, in a fixed order.

    Args:
        runs: the folder of all runs.
        names: the runs to take, such as `["0", "4"]`; all that are present if None.
        stage: one of `STAGES`, `"last"` for the last stage that a run has, or `"all"`.

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


def _stages(folder: Path) -> list[str]:
    return [stage for stage in STAGES if (folder / stage / "config.json").exists()]


def _order(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (10**9, name)
