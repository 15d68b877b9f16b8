"""The plan of a competition: pack the images, train and fine-tune the models, predict the test set, blend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from hpa import finetune
from hpa.cluster.plan import Task
from hpa.errors import BadInput
from hpa.options import as_text, given_settings, option
from hpa.registry import NETWORKS
from hpa.runs.folder import BEST, is_settled, read_history
from hpa.stages import STAGES, fold_name, run_name
from hpa.tasks import Task as Classification
from hpa.training.plan import base_run, plan, stage_run
from hpa.training.resolve import require_shareable, resolve, resolve_stage

REPORT = ("0", "1", "2", "3", "4", "6")  # the variants that the report blends


@dataclass(frozen=True)
class Share:
    """What a task may take of a machine.

    Attributes:
        cores: processor cores.
        gpus: GPUs, or a share of one, of a task that trains; one that predicts takes at most one.
        memory: bytes; 0 if that is not said.
    """

    cores: int = 1
    gpus: float = 0
    memory: int = 0


@dataclass(frozen=True)
class Competition:
    """What is to be done.

    Attributes:
        task, data, runs, preset, settings: as `hpa.api.Run.train` takes them.
        task_text: the task as `--task` names it.
        variants: of the network; None for the report's if the network has variants.
        seeds: of the base models. Runs of another seed than 0 have it in their names.
        stages: those of training, from the base model on.
        finetune: further options of `hpa.finetune`.
        svm: kernel of the SVM head that each run gets at its end; None for no head.
        predict, thresholds, ensemble: options of these commands; None for thresholds that are not chosen.
        stage: which stage of each run is predicted and blended, as `hpa.ensemble` takes it.
        share: what a task may take of a machine.
        shards: in how many parts each set is packed, by its name, and the test set predicted.
    """

    task: Classification
    task_text: str
    data: Path
    runs: Path
    preset: str | None
    settings: Mapping[str, Any]
    variants: Sequence[str] | None
    seeds: Sequence[int]
    stages: Sequence[str]
    finetune: Sequence[str]
    svm: str | None
    predict: Sequence[str]
    thresholds: Sequence[str] | None
    ensemble: Sequence[str]
    stage: str
    share: Share = field(default_factory=Share)
    shards: Mapping[str, int] = field(default_factory=dict)


def competition(asked: Competition) -> list[Task]:
    """Return the plan.

    Raises:
        BadInput: if settings, tables, or run folders that are there already do not fit what is asked for; before anything is
            written.
    """
    _require_stages(asked)
    for name, given in (
        ("rule", asked.thresholds is not None),
        ("threshold", any(each.startswith("--threshold=") for each in asked.ensemble)),
    ):
        if asked.task.kind.exclusive and given:
            raise BadInput(f"{name}: {asked.task.kind.words} tasks have no thresholds; leave it out", setting=name)
    settings = resolve(asked.preset, asked.settings, asked.task, asked.data, asked.runs)
    require_shareable(int(asked.share.gpus), settings, "gpus_per_task")
    model = settings.model
    varied = "variant" in NETWORKS[model].options
    if strange := [each for each in asked.variants or () if not each.isdecimal()]:
        raise BadInput(f"variants {','.join(strange)}: expected numbers separated by commas", setting="variants")
    if asked.variants and not varied:
        raise BadInput(f"variants {','.join(asked.variants)}: {model} has none; leave them out", setting="variants")
    folders = ["--data", str(asked.data), "--runs", str(asked.runs)]
    names: list[str] = []
    tasks = _packing(asked, ["--task", asked.task_text, *folders, "--size", str(settings.size)])
    packed = len(tasks) - 1
    ends = []
    for variant in asked.variants or REPORT if varied else [None]:
        for seed in asked.seeds:
            name = run_name(None, model, None if variant is None else int(variant), 0) + (f"-seed{seed}" if seed else "")
            names.append(name)
            for fold in range(asked.settings.get("folds") or 1):
                own = {"variant": int(variant)} if variant is not None else {}
                tasks += _training(asked, name, own | {"seed": seed, "fold": fold}, len(tasks), packed)
                ends.append(len(tasks) - 1)
    members = [name for each in names for name in (each, *([fold_name(each, 0, asked.svm)] if asked.svm else []))]
    chosen = ["--runs", str(asked.runs), "--variants", ",".join(members), "--stage", asked.stage]
    return tasks + _ending(asked, chosen, len(tasks), tuple(ends))


def finished(tasks: Sequence[Task]) -> set[int]:
    """Return the numbers of the trainings that are finished. What else there is takes a moment if nothing has changed."""
    found: set[int] = set()
    for number, task in enumerate(tasks):
        if task.folder and is_done(task.folder) and (task.command == "train" or found.issuperset(task.after)):
            found.add(number)
    return found


def states(tasks: Sequence[Task]) -> list[str]:
    """Return in words how far each task is."""
    done, found = finished(tasks), []
    for number, task in enumerate(tasks):
        epochs = len(read_history(task.folder)) if task.folder else 0
        ready = done.issuperset(task.after)
        state = "finished" if number in done else f"{epochs} epochs done" if epochs else "ready" if ready else "waiting"
        found.append(state)
    return found


def is_done(folder: Path) -> bool:
    """Tell whether the run in a folder has all its epochs and nothing is left of an interruption."""
    return all((folder / name).exists() for name in BEST) and is_settled(folder)


def _require_stages(asked: Competition) -> None:
    """Raise BadInput if the stages are not in their order, or some run will not have the one that is predicted."""
    for before, stage in zip((None, *asked.stages[:-1]), asked.stages, strict=True):
        if stage not in STAGES or STAGES[stage].start != before:
            raise BadInput(
                f"stages {','.join(asked.stages)}: expected the first of {', '.join(STAGES)}, in this order, separated by "
                "commas",
                setting="stages",
            )
    if asked.finetune and len(asked.stages) == 1:
        fault = f"no stage after {asked.stages[0]} is asked for; leave them out"
        raise BadInput(f"finetune_options: {fault}", "finetune_options")
    if asked.stage in ("last", "all"):
        return
    if asked.stage not in asked.stages:
        fault = f"the runs have only {', '.join(asked.stages)}; add it to --stages, or choose last"
        raise BadInput(f"stage {asked.stage}: {fault}", "stage")
    if asked.svm and asked.stage != "base":
        fault = "SVM heads have only the stage base; choose last, or leave out --svm"
        raise BadInput(f"stage {asked.stage}: {fault}", "stage")


def _packing(asked: Competition, folders: Sequence[str]) -> list[Task]:
    ranges = _as_options({name: value for name, value in asked.settings.items() if name == "intensity_range"})
    arguments, share = (*folders, *ranges), replace(asked.share, gpus=0)
    shards = [
        _task(f"pack {which} {part}/{parts}", "pack", (*arguments, "--set", which, "--shard", f"{part}/{parts}"), (), share)
        for which, parts in asked.shards.items()
        for part in range(1, parts + 1)
        if parts > 1
    ]
    return [*shards, _task("pack", "pack", arguments, tuple(range(len(shards))), share)]


def _training(asked: Competition, name: str, own: Mapping[str, Any], first: int, packed: int) -> list[Task]:
    """Return the stages of one run, after they have been checked as `hpa.train --check-only` does."""
    settings = {**asked.settings, **own}
    resolved, run = base_run(asked.preset, settings, asked.task, asked.data, asked.runs, name)
    plan(resolved, asked.task, asked.data, asked.runs, run)
    folders = ("--data", str(asked.data), "--runs", str(asked.runs))
    devices = (f"--devices={asked.share.gpus:g}",) if asked.share.gpus > 1 else ()
    preset = ("--preset", asked.preset) if asked.preset else ()
    base = ("--task", asked.task_text, *folders, *preset, "--name", name, *_as_options(settings), *devices)
    tasks = [_task(f"train {run}", "train", base, (packed,), asked.share, asked.runs / run / "base")]
    for stage in asked.stages[1:]:
        arguments = (*folders, "--stage", stage, "--name", run, *asked.finetune, *devices)
        given = given_settings(finetune.build_parser().parse_args(arguments))
        given.pop("stage")
        try:
            resolved = resolve_stage(resolved, stage, given, asked.task)
            require_shareable(int(asked.share.gpus), resolved, "gpus_per_task")
        except BadInput as error:
            raise BadInput(f"finetune_options for {stage}: {error}", "finetune_options") from error
        if is_done(asked.runs / run / str(STAGES[stage].start)) and (asked.runs / run / stage).exists():
            stage_settings, task, _ = stage_run(stage, given, asked.runs, run)
            plan(stage_settings, task, asked.data, asked.runs, run)
        before = (first + len(tasks) - 1,)
        tasks.append(_task(f"{stage} {run}", "finetune", arguments, before, asked.share, asked.runs / run / stage))
    if asked.svm:
        arguments = ("--data", str(asked.data), "--run", str(asked.runs / run / asked.stages[-1]), "--kernel", asked.svm)
        before = (first + len(tasks) - 1,)
        tasks.append(_task(f"svm {run}", "svm", arguments, before, replace(asked.share, gpus=min(asked.share.gpus, 1))))
    return tasks


def _ending(asked: Competition, chosen: Sequence[str], first: int, before: tuple[int, ...]) -> list[Task]:
    """Return the prediction of the test set, by parts and whole, the thresholds and the blend."""
    data, light, parts = ("--data", str(asked.data)), replace(asked.share, gpus=0), asked.shards.get("test", 1)
    predicting = replace(asked.share, gpus=min(asked.share.gpus, 1))
    arguments = (*data, *chosen, *asked.predict)
    tasks = [
        _task(f"predict {part}/{parts}", "predict", (*arguments, "--shard", f"{part}/{parts}"), before, predicting)
        for part in range(1, parts + 1)
        if parts > 1
    ]
    whole = [_task("predict", "predict", arguments, tuple(range(first, first + len(tasks))) or before, predicting)]
    if asked.thresholds is not None:
        whole.append(_task("thresholds", "thresholds", (*chosen, *asked.thresholds), (), light))
    whole.append(_task("ensemble", "ensemble", (*data, *chosen, *asked.ensemble), (), light))
    for task in whole:  # its options are read now: the task itself begins when all trainings are over
        import_module(f"hpa.{task.command}").build_parser().parse_args(task.arguments)
    for task in whole:
        tasks.append(task if task.after else replace(task, after=(first + len(tasks) - 1,)))
    return tasks


def _task(
    name: str, command: str, arguments: Sequence[str], after: tuple[int, ...], share: Share, folder: Path | None = None
) -> Task:
    return Task(name, command, tuple(arguments), after, share.cores, share.gpus, share.memory, folder)


def _as_options(settings: Mapping[str, Any]) -> list[str]:
    return [f"{option(name)}={as_text(name, value)}" for name, value in settings.items()]
