"""One run from its settings: table, split, packed images, model, fit, curves."""

from pathlib import Path

import keras
import numpy as np

from hpa.data.augment import require_channels
from hpa.data.tables import SampleTable
from hpa.errors import BadInput
from hpa.files import locked
from hpa.models.catalog import build, load
from hpa.models.variants import Topology, require_size
from hpa.tasks import Task
from hpa.training.curves import write_curves
from hpa.training.fit import Rows, fit
from hpa.training.monitor import MONITORS
from hpa.training.runs import (
    describe_best,
    is_finished,
    open_run,
    read_history,
    read_settings,
    require_same_run,
    require_table,
    run_config,
    with_intensity_range,
)
from hpa.training.sides import divide, pack_sets, write_sides
from hpa.training.stages import STAGES, Settings

OUTPUTS = {"one": "softmax", "many": "sigmoid"}


def train(settings: Settings, task: Task, data: Path, runs: Path, name: str, preset: str | None = None) -> Path:
    """Make the run that the settings ask for, or go on with it, or find it finished.

    Args:
        settings: what the run is made with.
        task: what is classified.
        data: folder of the data.
        runs: the folder of all runs; packed images go to its `stores` folder.
        name: the run's name.
        preset: the name of the preset behind the settings, for config.json to tell; None for a later stage.

    Returns:
        The run folder, `<runs>/<name>/<stage>`.

    Raises:
        BadInput: if the tables, the images, the start run or the run folder do not fit the settings.
        Failure: if training diverges.
    """
    folder = runs / name / settings.stage
    previous = STAGES[settings.stage].start
    start = previous and folder.parent / previous
    if not start:
        require_size(settings.model, settings.variant, settings.size)
    require_channels(settings.augmentation, len(task.channels))
    sides = divide(settings, task, data, start and start / "split.csv")
    if start:
        require_finished(start, sides.table)

    def new_model() -> keras.Model:
        if start:
            return load(start / "model.keras")
        return build(
            settings.model,
            settings.variant,
            settings.size,
            len(task.channels),
            len(task.classes),
            OUTPUTS[task.labels],
            settings.activation,
            settings.filters and Topology(settings.filters, settings.blocks, settings.kernel, settings.dropout),
            settings.weights,
        )

    if not start:
        settings = with_intensity_range(settings, folder, task, data, runs, sides.sets["train"].ids)
    config = run_config(settings, task, sides.table, start and start / "model.keras")
    require_same_run(folder, config)
    if is_finished(folder) and (folder / "curves.png").exists() and not list(folder.glob("state-*.keras")):
        print(f"{folder} is finished already: {describe_best(folder)}")
        return folder
    if settings.weights and not start and not (folder / "config.json").exists():
        new_model()  # refuses faulty weights before anything is written
    images = pack_sets(sides, data, runs, task, settings.size, settings.intensity_range)
    with locked(folder / ".lock", wait=False):
        open_run(folder, config, data, preset)
        write_sides(folder / "split.csv", settings, sides)
        try:
            if not is_finished(folder):
                weights = np.where(sides.external, settings.external_weight, 1).astype(np.float32)
                training = Rows(images, sides.table, sides.training, None if (weights == 1).all() else weights)
                fit(folder, settings, task, new_model, training, Rows(images, sides.table, sides.validation))
            for state in folder.glob("state-*.keras"):
                state.unlink()
        finally:
            history = read_history(folder)
            if len(history):
                write_curves(folder / "curves.png", history, f"{name} {settings.stage}", MONITORS[task.labels])
    print(f"{folder} is done: {describe_best(folder)}")
    return folder


def require_finished(start: Path, table: SampleTable) -> None:
    """Raise BadInput unless there is a finished run in `start`, trained on this table."""
    config = read_settings(start)  # refuses a folder without a run
    if not is_finished(start):
        raise BadInput(f"{start}: has not all of its {config.epochs} epochs; run its command again first")
    if not (start / "model.keras").exists():
        raise BadInput(f"{start}: no model.keras; delete the folder and train it again")
    require_table(start, table)
