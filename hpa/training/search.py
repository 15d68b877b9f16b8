"""A search for better settings by Optuna's tree-structured Parzen estimator, on a part of the training data.

Trial 0 has the settings to start from. Every further trial depends only on the seed, its number and the trials before it.
With one worker these are all finished, so the search is the same each time. A trial enters the study before it begins. So if
a process dies during a trial, its run goes on from its last epoch. `Study.optimize` cannot do that: it leaves running trials
behind and draws others. Optuna's own plots need pyplot, whose global state belongs to the caller.
"""

import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
from matplotlib.figure import Figure
from optuna import distributions
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import URL

from hpa.data.parallel import Inline
from hpa.data.partition import make_partition
from hpa.errors import BadInput, Diverged, Failure
from hpa.files import locked, require_plain, write_csv, write_json
from hpa.models.catalog import load
from hpa.registry import NETWORKS, require_network
from hpa.runs.folder import (
    as_begun,
    is_finished,
    opened_run,
    read_history,
    require_same_run,
    run_config,
    unsettled,
    with_intensity_range,
)
from hpa.scoring.plots import write_figure
from hpa.settings import VARIED, Settings, names_of
from hpa.tasks import Task
from hpa.training.presets import preset_file
from hpa.training.train import train

Space = dict[str, distributions.BaseDistribution]

logger = logging.getLogger(__name__)

# Settings of the trials that do not become part of the preset that is found: at full length it takes them from the preset
# that the search started from. An exponential moving average for a short trial would be too short there.
OF_THE_SEARCH = (
    "stage", "intensity_range", "folds", "folds_of", "fold", "split_seed", "groups", "rows", "seed", "epochs",
    "ema_momentum", "precision",
)  # fmt: skip
PANEL_COLUMNS = 4


def space(start: Settings, task: Task) -> Space:
    """Return the distributions of the searched parameters around the start, by name.

    They are the settings that `Varied` marks and the start uses, and those of a network's shape. A CellNet doubles its
    filters from stage to stage; each stage between the first and the last has `middle_blocks`.
    """
    searched: Space = {}
    for name, varied in VARIED.items():
        own = getattr(start, name)
        if own is None or (varied.factor and not own):
            continue
        if varied.factor:
            searched[name] = FloatDistribution(own / varied.factor, min(own * varied.factor, varied.most), log=True)
        elif varied.bounds:
            searched[name] = FloatDistribution(*varied.bounds)
        else:
            own_first = (own, *varied.choices) if varied.choices else names_of(name)
            searched[name] = CategoricalDistribution(tuple(dict.fromkeys(own_first)))
    if start.model == "cellnet":
        kept = {name: searched.pop(name) for name in ("kernel", "dropout")}
        searched |= {
            "stages": IntDistribution(2, 4),
            "first_filters": CategoricalDistribution((16, 24, 32, 48)),
            "first_blocks": IntDistribution(1, 2),
            "middle_blocks": IntDistribution(1, 3),
            "last_blocks": IntDistribution(1, 3),
            **kept,
            "activation": CategoricalDistribution(tuple(names_of("activation"))),
        }
    if sizes := NETWORKS[start.model].variant_sizes:
        fitting = tuple(variant for variant, smallest in enumerate(sizes) if start.size >= smallest)
        searched |= {
            "variant": CategoricalDistribution(fitting),
            "loss": CategoricalDistribution(tuple(dict.fromkeys((start.loss, task.kind.loss, "soft-f1", "smooth-l1")))),
        }
    return searched


def parameters_of(settings: Settings, searched: Space) -> dict[str, Any]:
    """Return the values of the searched parameters in some settings."""
    values = asdict(settings)
    if settings.filters and settings.blocks:  # a CellNet
        values |= {
            "stages": len(settings.filters),
            "first_filters": settings.filters[0],
            "first_blocks": settings.blocks[0],
            "middle_blocks": settings.blocks[len(settings.blocks) // 2],
            "last_blocks": settings.blocks[-1],
        }
    return {name: values[name] for name in searched}


def with_parameters(start: Settings, parameters: dict[str, Any]) -> Settings:
    """Return settings with the searched parameters instead of their own; undoes `parameters_of`."""
    values = dict(parameters)
    if start.model == "cellnet":
        stages, filters = values.pop("stages"), values.pop("first_filters")
        values["filters"] = tuple(filters * 2**stage for stage in range(stages))
        first, middle, last = (values.pop(f"{place}_blocks") for place in ("first", "middle", "last"))
        values["blocks"] = (first, *[middle] * (stages - 2), last)
    return replace(start, **values)


def propose(start: Settings, searched: Space, tried: Sequence[FrozenTrial]) -> dict[str, Any]:
    """Return the parameters of the next trial: first the start's, then nine times random ones, then Optuna's estimate.

    A running trial counts as a bad one, so that the others try something else. The seed of the start is also that of the
    search.
    """
    if not tried:
        return parameters_of(start, searched)
    seed = np.random.SeedSequence([start.seed, len(tried)]).generate_state(1)[0]
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=int(seed), constant_liar=True))
    study.add_trials(tried)
    return study.ask(searched).params


def search(
    start: Settings,
    preset: str,
    task: Task,
    data: Path,
    runs: Path,
    name: str,
    trials: int,
    workers: int = 1,
    submit: Callable[..., Future[dict[str, Any]]] | None = None,
) -> FrozenTrial:
    """Run the missing trials, if any, and return the best trial.

    `<runs>/searches/<name>` has the study (study.db, SQLite), a run folder for each trial, trials.csv and trials.png; only
    the best trial keeps its model. The best settings become a preset with the search's name. The score of a trial is the
    validation score of its best epoch.

    Args:
        start: the settings to start from; they also set the rows and epochs of each trial.
        preset: the name of their preset.
        task: what is classified.
        data: folder of the data.
        runs: the folder of all runs.
        name: the search's name.
        trials: number of trials in all, failed ones and earlier ones included.
        workers: how many trials run at once.
        submit: begins a call of a function somewhere, as an executor's `submit` does; None for here. Only this process opens
            the study.

    Raises:
        BadInput: if tables or images are faulty, the start is outside what is searched, the search was begun with other
            settings or data, or its study is damaged.
        Failure: if every trial fails, or another process is at work on this search.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    require_network(start.model, start.variant, start.size)
    searched = space(start, task)
    own = parameters_of(start, searched)
    try:
        create_trial(params=own, distributions=searched, value=0.0)
        within = with_parameters(start, own) == start
    except ValueError:
        within = False
    if not within:
        raise BadInput(f"the start ({_in_words(own)}) is outside what is searched; choose another preset", setting="preset")
    folder = runs / "searches" / name
    start = as_begun(start, folder, "precision", "augment_on")
    partition = make_partition(start, task, data)
    start = with_intensity_range(start, folder, task, data, runs, partition.sets["train"].ids)
    config = run_config(start, task, partition.table, None)
    described = {key: json.loads(distributions.distribution_to_json(each)) for key, each in searched.items()}
    config |= {"preset": preset, "space": described}
    require_same_run(folder, config)
    with locked(folder / ".lock", wait=False), opened_run(folder, config, data):
        study = _open_study(folder / "study.db", searched)
        best = _report(study.trials, start, preset, searched, task, runs, name)
        waiting = [trial for trial in study.trials if not trial.state.is_finished()]  # an earlier start has left them
        if len(study.trials) >= trials and not waiting:
            logger.info(f"{folder} is finished already: {len(study.trials)} trials")
        submit = submit or Inline().submit
        running: dict[Future[dict[str, Any]], FrozenTrial] = {}
        while True:
            while len(running) < workers and (waiting or len(study.trials) < trials):
                if not waiting:
                    parameters = propose(start, searched, study.trials)
                    study.add_trial(create_trial(state=TrialState.RUNNING, params=parameters, distributions=searched))
                    waiting = study.trials[-1:]
                trial = waiting.pop(0)
                logger.info(f"trial {trial.number} ({trial.number + 1} of {trials}): {_in_words(trial.params)}")
                settings, run = with_parameters(start, trial.params), f"searches/{name}/trial-{trial.number}"
                running[submit(_outcome, settings, task, data, runs, run)] = trial
            if not running:
                break
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                trial = running.pop(future)
                try:
                    outcome = future.result()
                except Exception:
                    if not any(each.state.is_finished() for each in study.trials):  # a corrected search begins anew
                        optuna.delete_study(study_name="search", storage=study._storage)
                    raise
                for key, value in outcome["user_attrs"].items():
                    optuna.trial.Trial(study, trial._trial_id).set_user_attr(key, value)
                study.tell(trial.number, outcome.get("value"), outcome.get("state"))
                if workers > 1:  # its own messages stay where it was at work
                    logger.info(f"trial {trial.number} is done: {outcome.get('value', 'failed')}")
                best = _report(study.trials, start, preset, searched, task, runs, name)
    if not best:
        raise Failure(f"{folder}: all {len(study.trials)} trials failed; delete the folder and start from another preset")
    return best


def _open_study(path: Path, searched: Space) -> optuna.Study:
    require_plain(path)
    try:
        storage = optuna.storages.RDBStorage(str(URL.create("sqlite", database=str(path))))
        study = optuna.create_study(study_name="search", storage=storage, direction="maximize", load_if_exists=True)
        for number, trial in enumerate(study.get_trials()):
            sound = [
                trial.number == number,
                trial.state in (TrialState.COMPLETE, TrialState.FAIL, TrialState.RUNNING),
                trial.distributions == searched,
                trial.user_attrs.keys() == {"seconds", "parameters"} or trial.state == TrialState.RUNNING,
                all(isinstance(each, int | float | None) for each in trial.user_attrs.values()),
                (trial.state == TrialState.COMPLETE) == (trial.value is not None and math.isfinite(trial.value)),
            ]
            if not all(sound):
                raise ValueError(f"trial {number} is not of this search")
    except Exception as error:  # damaged and foreign files raise errors of many kinds in SQLite, SQLAlchemy and Optuna
        reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        fix = "delete it and run the same command again, what was trained is found in the folders of the trials"
        raise BadInput(f"{path}: not a study that can be read ({reason}); {fix}") from error
    return study


def _outcome(settings: Settings, task: Task, data: Path, runs: Path, name: str) -> dict[str, Any]:
    """Train a trial; return its state, score, seconds and number of weights as Optuna's `create_trial` takes them."""
    folder = runs / name / settings.stage
    begun, start = (folder / "config.json").exists(), time.perf_counter()
    deleted = is_finished(folder) and not (folder / "model.keras").exists() and not unsettled(folder)
    try:
        if not deleted:  # by `_report`, before the study was lost
            train(settings, task, data, runs, name)
    except Diverged as error:  # not a folder that is in use, or a full disk: the trial then goes on later
        logger.info(f"failed: {error}")
        return {"state": TrialState.FAIL, "user_attrs": {"seconds": None, "parameters": None}}
    seconds = None if begun else round(time.perf_counter() - start, 1)
    model = folder / "model.keras"
    parameters = load(model).count_params() if model.exists() else None
    return {
        "value": float(read_history(folder)[task.kind.monitor.best].max()),
        "user_attrs": {"seconds": seconds, "parameters": parameters},
    }


def _report(
    tried: Sequence[FrozenTrial], start: Settings, preset: str, searched: Space, task: Task, runs: Path, name: str
) -> FrozenTrial | None:
    """Write trials.csv, trials.png and the preset, delete the models of all but the best trial, and return that one."""
    tried = [trial for trial in tried if trial.state.is_finished()]
    if not tried:
        return None
    folder = runs / "searches" / name
    states = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed"}
    table = pd.DataFrame(
        {"number": trial.number, "state": states[trial.state], "score": trial.value, **trial.params, **trial.user_attrs}
        for trial in tried
    ).astype({"score": float, "seconds": float, "parameters": "Int64"})
    columns = ["number", "state", "score", *searched, "seconds", "parameters"]
    write_csv(folder / "trials.csv", table, columns=columns)
    write_figure(folder / "trials.png", draw_trials(table, searched, f"validation {task.kind.monitor.name}"))
    scores = [-math.inf if trial.value is None else trial.value for trial in tried]
    best = None if max(scores) == -math.inf else tried[scores.index(max(scores))]  # the first of equals
    if best:
        settings = asdict(with_parameters(start, best.params))
        found = {key: each for key, each in settings.items() if key not in OF_THE_SEARCH}
        write_json(preset_file(runs, name), {"preset": preset} | found)
        logger.info(f"best so far: trial {best.number} with {best.value:.4f}")
    for trial in tried:
        if trial is not best:
            (folder / f"trial-{trial.number}" / start.stage / "model.keras").unlink(missing_ok=True)
    return best


def draw_trials(table: pd.DataFrame, searched: Space, score: str) -> Figure:
    """Draw the trials' scores in their order with the best so far, and below them against each parameter.

    The table has a row for each trial, with the columns `number`, `score` (NaN for a failed one) and the parameters.
    """
    rows = math.ceil(len(searched) / PANEL_COLUMNS)
    figure = Figure(figsize=(3 * PANEL_COLUMNS, 3 + 2.2 * rows), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(3, 2.2 * rows), squeeze=False).flat
    axes = top.subplots()
    axes.plot(table["number"], table["score"], "C0o", label="trial")
    axes.plot(table["number"], table["score"].cummax().ffill(), "C1-", drawstyle="steps-post", label="best so far")
    failed = table.loc[table["score"].isna(), "number"]
    axes.plot(failed, [0.02] * len(failed), "C3x", label="failed", transform=axes.get_xaxis_transform())
    axes.set(xlabel="trial", ylabel=score)
    axes.grid(alpha=0.3)
    axes.legend()
    axes.xaxis.get_major_locator().set_params(integer=True)
    panels = bottom.subplots(rows, PANEL_COLUMNS, sharey=True, squeeze=False).flat
    for (name, distribution), panel in zip(searched.items(), panels, strict=False):
        panel.plot(table[name], table["score"], "C0.")
        panel.set_xlabel(name)
        if isinstance(distribution, FloatDistribution):
            panel.set_xscale("log" if distribution.log else "linear")
        else:
            panel.set_xticks(table[name].unique().tolist())
        panel.grid(alpha=0.3)
    for panel in panels:  # those that are left over
        panel.remove()
    return figure


def _in_words(parameters: dict[str, Any]) -> str:
    pairs = parameters.items()
    return ", ".join(f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in pairs)
