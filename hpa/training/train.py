"""One run from its settings: table, split, packed images, model, fit, curves."""

from pathlib import Path

import keras

from hpa.data.splits import read_split, stratified_folds, write_split
from hpa.data.store import pack
from hpa.data.tables import SampleTable, read_training_table
from hpa.errors import BadInput
from hpa.files import locked, read_json
from hpa.models.catalog import build, require_size
from hpa.tasks import Task
from hpa.training.curves import write_curves
from hpa.training.fit import fit
from hpa.training.runs import describe_best, is_finished, open_run, read_history, table_digest
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
    table = read_training_table(data / "train.csv", task)
    if previous is None:
        require_size(settings.model, settings.variant, settings.size)
        fold_of_row = stratified_folds(table.targets, settings.folds, settings.split_seed)
    else:
        _require_finished(folder.parent / previous, table)
        fold_of_row = read_split(folder.parent / previous / "split.csv", table.ids)

    def new_model() -> keras.Model:
        if previous is None:
            return build(settings.model, settings.variant, settings.size, len(task.channels), len(task.classes))
        return keras.saving.load_model(folder.parent / previous / "model.keras", compile=False)

    open_run(folder, settings, task.name, data, table)
    with locked(folder / ".lock", wait=False):
        if is_finished(folder) and (folder / "curves.png").exists():
            print(f"{folder} is finished already: {describe_best(folder)}")
            return folder
        store = pack(runs / "stores" / f"train-{settings.size}", data / "train", table.ids, task, settings.size)
        write_split(folder / "split.csv", table.ids, fold_of_row)
        try:
            if not is_finished(folder):
                fit(folder, settings, new_model, store.images, table, task.classes, fold_of_row == settings.fold)
        finally:
            if len(read_history(folder)):
                write_curves(folder / "curves.png", read_history(folder), f"{name} {settings.stage}")
        for state in folder.glob("state-*.keras"):
            state.unlink()
    print(f"{folder} is done: {describe_best(folder)}")
    return folder


def _require_finished(start: Path, table: SampleTable) -> None:
    if not is_finished(start):
        raise BadInput(f"{start}: not finished; this stage starts from it, so run its command again first")
    if read_json(start / "config.json").get("table_sha256") != table_digest(table):
        raise BadInput(f"{start}: trained on another table; name the --data that it was trained on")
