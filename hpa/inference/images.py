"""Predictions of images that are no part of a run's data: arrays, files or folders."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hpa.data.images import Sample
from hpa.data.layout import describe_unread, find_files, list_ids
from hpa.errors import BadInput
from hpa.inference import predict
from hpa.inference.predict import BATCH, common_task, predict_files
from hpa.runs.folder import read_settings, read_task_of
from hpa.scoring.blend import validation_thresholds
from hpa.scoring.evaluation import write_prediction_table
from hpa.scoring.predictions import Predictions
from hpa.scoring.weights import blend
from hpa.tasks import Task
from hpa.tta import NO_TTA, TTA

logger = logging.getLogger(__name__)

Images = np.ndarray | Sequence[np.ndarray] | str | Path | Sequence[str | Path] | Sequence[Sequence[str | Path]]


def predict_images(folder: Path, images: Images, tta: TTA = NO_TTA) -> np.ndarray:
    """Return the probabilities that a run's model gives some images, float32 [n, classes]; see `hpa.api.Run.predict`.

    Raises:
        BadInput: if the run has no model, or an image cannot be used.
    """
    task = read_task_of(folder)
    if isinstance(images, str | Path):
        _, files = samples_of(Path(images), task)
    else:
        arrays = [each for each in images if isinstance(each, np.ndarray)]
        if len(arrays) == len(images):
            return _predict_arrays(folder, arrays, task, tta)
        files = [_channel_files(number, each, task) for number, each in enumerate(images)]
    if not files:
        return np.empty((0, len(task.classes)), np.float32)
    return np.asarray(predict_files([folder], files, tta)[0])


def samples_of(folder: Path, task: Task) -> tuple[list[str], list[list[Path]]]:
    """Return the ids of all samples of a folder, sorted, and the files of each one's channels.

    Raises:
        BadInput: if there are none, or a sample lacks a file.
    """
    ids = list_ids(folder, task)
    if not ids:
        reason = describe_unread(folder, task) or f"no image here whose name ends in {task.suffixes[0]}.png"
        raise BadInput(f"{folder}: {reason}")
    return ids, find_files(folder, ids, task)


def predict_folder(folders: Sequence[Path], images: Path, out: Path, tta: TTA = NO_TTA) -> None:
    """Write a table of the mean prediction of some runs for all images of a folder.

    Args:
        folders: the run folders.
        images: folder of the images.
        out: the CSV to write, see `write_prediction_table`.
        tta: test-time augmentation.

    Raises:
        BadInput: if a run has no model, an image cannot be used, or there are no thresholds for the mean of these runs.
    """
    task = common_task(folders)
    ids, files = samples_of(images, task)
    thresholds = validation_thresholds(folders, task.labels, len(task.classes), tta)
    mean = blend(list(predict_files(folders, files, tta)))
    write_prediction_table(out, Predictions(np.array(ids), task.classes, mean, None, task.labels, tta), thresholds)
    logger.info("%s: %d samples, the mean of %d model%s", out, len(ids), len(folders), "s" if len(folders) > 1 else "")


def _predict_arrays(folder: Path, images: Sequence[np.ndarray], task: Task, tta: TTA) -> np.ndarray:
    settings, channels = read_settings(folder), len(task.channels)
    for number, image in enumerate(images):
        if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[-1] != channels or not image.size:
            raise BadInput(
                f"image {number}: expected uint8 or uint16 [H, W, {channels}] ({', '.join(task.channels)}), "
                f"received {image.dtype} {list(image.shape)}"
            )
    ranges = settings.intensity_range or (None,) * channels
    model = predict.load_run(folder)
    probabilities = np.empty((len(images), len(task.classes)), np.float32)
    for start in range(0, len(images), BATCH):
        batch = [
            Sample([Path(f"image {start + place}")] * channels, list(np.moveaxis(image, -1, 0))).image(settings.size, ranges)
            for place, image in enumerate(images[start : start + BATCH])
        ]
        probabilities[start : start + len(batch)] = tta.predict(model, np.stack(batch), task.labels)
    return probabilities


def _channel_files(number: int, files: Any, task: Task) -> list[Path]:
    if isinstance(files, np.ndarray):
        raise BadInput(f"image {number}: expected files, as those before, received an array; give all in one form")
    paths = [Path(files)] if isinstance(files, str | Path) else [Path(each) for each in files]
    if len(paths) != len(task.channels):
        raise BadInput(
            f"image {number}: expected {len(task.channels)} files, one for each of {', '.join(task.channels)}; "
            f"received {len(paths)}"
        )
    return paths
