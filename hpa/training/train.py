"""One run from its settings: table, split, packed images, model, fit, curves."""

import logging
from dataclasses import replace
from pathlib import Path

import keras

from hpa.data.partition import pack_sets, write_partition
from hpa.errors import BadInput
from hpa.files import locked
from hpa.models.catalog import build, load, to_train
from hpa.registry import NETWORKS
from hpa.runs.folder import (
    describe_best,
    is_finished,
    is_settled,
    model_shape,
    opened_run,
    read_history,
    require_finished,
    unsettled,
)
from hpa.settings import Settings
from hpa.tasks import Task
from hpa.training.board import Board, require_tensorboard
from hpa.training.curves import write_curves
from hpa.training.distribution import count_devices, distributed
from hpa.training.fit import Rows, fit, settle
from hpa.training.plan import plan, reason_against_device

logger = logging.getLogger(__name__)


def train(
    settings: Settings,
    task: Task,
    data: Path,
    runs: Path,
    name: str,
    preset: str | None = None,
    tensorboard: bool = False,
    devices: int | str = 1,
) -> Path:
    """Make the run that the settings ask for, or go on with it, or find it finished.

    Args:
        settings: what the run is made with.
        task: what is classified.
        data: folder of the data.
        runs: the folder of all runs; packed images go to its `stores` folder.
        name: the run's name.
        preset: the name of the preset behind the settings, for config.json to tell; None for a later stage.
        tensorboard: whether TensorBoard is told of each epoch, in the folder `tensorboard` of the run folder.
        devices: how many devices share every batch, or "all" of them.

    Returns:
        The run folder, `<runs>/<name>/<stage>`.

    Raises:
        BadInput: if the tables, the images, the start run, the run folder or the devices do not fit the settings, or
            TensorBoard is asked for and not installed.
        Failure: if training diverges.
    """
    settings, count = with_devices(settings, devices, tensorboard)
    made = plan(settings, task, data, runs, name)
    folder, settings, partition = made.folder, made.settings, made.partition
    shape = model_shape(settings, task)

    def new_model() -> keras.Model:
        if made.start:
            return to_train(load(made.start / "model.keras", shape=shape), settings.model)
        return build(
            settings.model,
            *shape,
            task.kind.activation,
            **{name: getattr(settings, name) for name in NETWORKS[settings.model].arguments},
        )

    if is_finished(folder) and not unsettled(folder):
        require_finished(folder, predicted=True)
        if is_settled(folder):
            logger.info("%s is finished already: %s", folder, describe_best(folder))
            return folder
    begun_on_device = settings.augment_on == "device" and (folder / "config.json").exists()
    if begun_on_device and (reason := reason_against_device(settings, len(partition.training), len(task.channels))):
        fix = "go on where a device has more memory, or delete the folder and train it again with augment_on host"
        raise BadInput(f"{folder}: was begun with augment_on device, and {reason}; {fix}")
    if (made.start or settings.weights) and not (folder / "config.json").exists():
        new_model()  # raises for a faulty model or weights before anything is written
    images = pack_sets(partition, data, runs, task, settings.size, settings.intensity_range)
    monitor = task.kind.monitor
    with locked(folder / ".lock", wait=False), opened_run(folder, made.config, data, preset):
        write_partition(folder / "split.csv", settings, partition)
        drawn = ("loss", "validation_loss", monitor.training, *monitor.validation)
        read_history(folder, drawn)  # raises for a damaged one
        settle(folder)
        try:
            if not is_finished(folder):
                weights = partition.weights(settings.external_weight)
                training = Rows(images, partition.table, partition.training, weights)
                validation = Rows(images, partition.table, partition.validation)
                board = [Board(folder)] if tensorboard else []
                with distributed(count):
                    fit(folder, settings, task, new_model, training, validation, board, count)
            for state in folder.glob("state-*.keras"):
                state.unlink()
        finally:
            settle(folder)
            history = read_history(folder)
            if len(history):
                write_curves(folder / "curves.png", history, f"{name} {settings.stage}", monitor)
    logger.info("%s is done: %s", folder, describe_best(folder))
    return folder


def with_devices(settings: Settings, devices: int | str, tensorboard: bool) -> tuple[Settings, int]:
    """Check TensorBoard, if asked for, and the devices; return the settings for these, and their number.

    BadInput is raised as by `train`.
    """
    if tensorboard:
        require_tensorboard()
    count = count_devices(devices, settings)
    return (replace(settings, augment_on="host") if count > 1 and not settings.augment_on else settings), count
