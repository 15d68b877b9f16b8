"""One run from its settings: table, split, packed images, model, fit, curves."""

from pathlib import Path

import keras

from hpa.data.splits import read_split, stratified_folds, write_split
from hpa.data.store import pack
from hpa.data.tables import SampleTable, read_training_table
from hpa.errors import BadInput
from hpa.files import locked, read_json
from hpa.models.catalog import build, load
from hpa.models.variants import require_size
from hpa.tasks import Task
from hpa.training.curves import write_curves
from hpa.training.fit import fit
from hpa.training.runs import (
    describe_best,
    is_finished,
    open_run,
    read_history,
    read_settings,
    require_same_run,
    run_config,
    table_digest,
)
from hpa.training.stages import STAGES, Settings, run_name


def train(settings: Settings, task: Task, data: Path, runs: Path) -> Path:
    """Make the run that the settings ask for, or go on with it, or find it finished.

    Args:
        settings: what the run is made with.
        task: what is classified.
        data: folder in the competition's layout.
        runs: the folder of all runs; packed images go to its `stores` folder.

    Returns:
        The run folder.

    Raises:
        BadInput: if the table, the images, the start run or the run folder do not fit the settings.
        Failure: if training diverges.
    """
    name = run_name(settings.model, settings.variant, settings.fold)
    folder = runs / name / settings.stage
    previous = STAGES[settings.stage].start
    start_model = previous and folder.parent / previous / "model.keras"
    table = read_training_table(data / "train.csv", task)
    if start_model:
        _require_finished(start_model.parent, table)
        fold_of_row = read_split(start_model.parent / "split.csv", table.ids)
    else:
        require_size(settings.model, settings.variant, settings.size)
        fold_of_row = stratified_folds(table.targets, settings.folds, settings.split_seed)

    def new_model() -> keras.Model:
        if start_model:
            return load(start_model)
        return build(settings.model, settings.variant, settings.size, len(task.channels), len(task.classes))

    config = run_config(settings, task.name, table, start_model)
    require_same_run(folder, config)
    if is_finished(folder) and (folder / "curves.png").exists() and not list(folder.glob("state-*.keras")):
        print(f"{folder} is finished already: {describe_best(folder)}")
        return folder
    store = pack(runs / "stores" / f"train-{settings.size}", data / "train", table.ids, task, settings.size)
    with locked(folder / ".lock", wait=False):
        open_run(folder, config, data)
        write_split(folder / "split.csv", table.ids, fold_of_row)
        try:
            if not is_finished(folder):
                fit(folder, settings, new_model, store.images, table, task.classes, fold_of_row == settings.fold)
            for state in folder.glob("state-*.keras"):
                state.unlink()
        finally:
            if len(read_history(folder)):
                write_curves(folder / "curves.png", read_history(folder), f"{name} {settings.stage}")
    print(f"{folder} is done: {describe_best(folder)}")
    return folder


def _require_finished(start: Path, table: SampleTable) -> None:
    config = read_settings(start)  # refuses a folder without a run
    if not is_finished(start):
        raise BadInput(f"{start}: has not all of its {config.epochs} epochs; run its command again first")
    if not (start / "model.keras").exists():
        raise BadInput(f"{start}: no model.keras; delete the folder and train it again")
    if read_json(start / "config.json").get("table_sha256") != table_digest(table):
        raise BadInput(f"{start}: trained on another table; name the --data that it was trained on")
