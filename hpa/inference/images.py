"""Predictions of images that are no part of a run's data: arrays, files or folders."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpa.data.images import Sample
from hpa.data.layout import describe_unread, file_names, find_files, id_of, list_ids
from hpa.data.pictures import pictures_of
from hpa.data.tables import SampleTable, read_labelled
from hpa.errors import BadInput, refuse
from hpa.files import require_outputs, require_plain
from hpa.inference import predict
from hpa.inference.predict import BATCH, Form, common_task, form_of, predict_files, read_batches, require_models
from hpa.runs.folder import read_task_of
from hpa.scoring.blend import thresholds_and_rows
from hpa.scoring.evaluation import write_prediction_table
from hpa.scoring.plots import draw_sheet, write_figure
from hpa.scoring.predictions import Predictions
from hpa.scoring.weights import blend
from hpa.tasks import Task
from hpa.tta import NO_TTA, TTA

SHOWN, SHOWN_SIDE = 80, 192  # samples of a picture, and pixels of each

Images = np.ndarray | Sequence[np.ndarray] | str | Path | Sequence[str | Path] | Sequence[Sequence[str | Path]]


def predict_images(folder: Path, images: Images, tta: TTA = NO_TTA) -> np.ndarray:
    """Return the probabilities that a run's model gives some images, float32 [n, classes]; see `hpa.api.Run.predict`.

    Raises:
        BadInput: if the run has no model, or an image cannot be used.
    """
    require_models(folder, [folder])
    task, form = read_task_of(folder), form_of(folder)
    model = predict.load_run(folder)
    ids, batches = read_images(images, task, [form])
    found = [tta.predict(model, batch[form], task.labels, min(BATCH, len(ids))) for batch in batches]
    return np.concatenate([np.empty((0, len(task.classes)), np.float32), *found])


def read_images(images: Images, task: Task, forms: Sequence[Form]) -> tuple[list[str], Iterator[dict[Form, np.ndarray]]]:
    """Return the ids of some images, and their batches in each of several forms: uint8 [B, S, S, C] of its size S.

    Args:
        images: as for `hpa.api.Run.predict`. The id of an image is that of its sample, or its number if it is an array.
        task: what is classified.
        forms: sizes and intensity ranges.

    Raises:
        BadInput: if an image cannot be used.
    """
    if isinstance(images, str | Path):
        ids, files = samples_of(Path(images), task)
    else:
        arrays = [each for each in images if isinstance(each, np.ndarray)]
        if len(arrays) == len(images):
            return [str(number) for number in range(len(arrays))], _read_arrays(arrays, task, forms)
        files = [_channel_files(number, each, task) for number, each in enumerate(images)]
        ids = [id_of(sample[0], task) or sample[0].stem for sample in files]
    return ids, read_batches(files, forms, task) if files else iter(())


def chosen_samples(task: Task, data: Path | None, images: Sequence[Path] = ()) -> tuple[SampleTable, list[list[Path]]]:
    """Return the samples that a command names, and the channel files of each.

    Args:
        task: what is classified.
        data: a labelled set: a folder with class folders, or with a table next to it; None to take `images`.
        images: folders, of which all samples are taken, files, each of which stands for its sample, and CSVs with such in a
            column `path`.

    Raises:
        BadInput: if there is none, a file is absent or ends as no channel does, or an id is there twice.
    """
    if data:
        table = read_labelled(data, task)
        return table, find_files(data, table.ids, task, whole=True)
    found: dict[str, list[Path]] = {}
    faults = []
    listed = [read_paths(each) if each.suffix.lower() == ".csv" else [each] for each in images]
    for path in (path for each in listed for path in each):
        own_id = id_of(path, task)
        if path.is_dir():
            ids, files = samples_of(path, task)
        elif not path.is_file() or own_id is None:
            faults.append(f"{path} {'is not named ' + ' or '.join(file_names(task)) if path.is_file() else 'is absent'}")
            continue
        else:
            ids = [own_id]
            files = find_files(path.parent, ids, task)
        for identifier, own in zip(ids, files, strict=True):
            if [*map(os.path.realpath, found.setdefault(identifier, own))] != [*map(os.path.realpath, own)]:
                faults.append(f"id {identifier} is {found[identifier][0]} and {own[0]}; rename one")
    refuse("images", faults, "images")
    return SampleTable(np.array(list(found), str)), list(found.values())


def samples_of(folder: Path, task: Task) -> tuple[list[str], list[list[Path]]]:
    """Return the sorted ids of all samples of a folder and their channel files; raise BadInput if any lacks a file."""
    ids = list_ids(folder, task)
    if not ids:
        reason = describe_unread(folder, task) or f"no image here that is named {file_names(task)[0]}"
        raise BadInput(f"{folder}: {reason}")
    return ids, find_files(folder, ids, task)


def read_paths(file: Path) -> list[Path]:
    """Return the paths in the column `path` of a CSV; relative ones start from its folder. BadInput if there are none."""
    require_plain(file)
    try:
        table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: cannot be read as a CSV ({error})", "images") from error
    if "path" not in table or table.empty:
        raise BadInput(f"{file}: expected a column path and a row for each image, found {', '.join(table)}", "images")
    empty = [f"row {row + 1} has no path" for row, path in enumerate(table["path"]) if not path.strip()]
    refuse(file, empty, "images")
    return [file.parent / path.strip() for path in table["path"]]


def predict_samples(
    folders: Sequence[Path], images: Sequence[Path], out: Path, tta: TTA = NO_TTA, engine: str = "keras"
) -> str:
    """Write a CSV of the mean prediction of some runs for images, and a picture of the first of them with their classes.

    The CSV is that of `write_prediction_table`; the picture has its name and `.png`.

    Args:
        folders: run folders.
        images: folders, files and CSVs, see `chosen_samples`.
        out: the CSV.
        tta: test-time augmentation.
        engine: what computes, a key of `hpa.inference.engines.ENGINES`.

    Returns:
        What was written, in words.

    Raises:
        BadInput: if a run has no model, an image cannot be used or would be replaced, or there are no thresholds for the
            mean of these runs.
    """
    task = common_task(folders)
    samples, files = chosen_samples(task, None, images)
    require_outputs([out, out.with_suffix(".png")], [file for sample in files for file in sample])
    thresholds, _ = thresholds_and_rows(folders, task.labels, len(task.classes), tta)
    mean = blend(list(predict_files(folders, files, tta, engine)))
    write_prediction_table(out, Predictions(samples.ids, task.classes, mean, None, task.labels, tta), thresholds)
    captions = []
    for row, chosen in enumerate(task.kind.decide(mean[:SHOWN], thresholds)[0]):
        names = [f"{name} {mean[row, number]:.2f}" for number, name in enumerate(task.classes) if chosen[number]]
        more = [f"{names[1]} and {len(names) - 2} more"] if len(names) > 2 else names[1:]
        captions.append("\n".join([str(samples.ids[row]), *names[:1], *more]))
    write_figure(out.with_suffix(".png"), draw_sheet(pictures_of(files[:SHOWN], task, SHOWN_SIDE), captions))
    count = f"{len(folders)} model{'s' if len(folders) > 1 else ''}"
    return f"{out}: {len(files)} samples, the mean of {count}; {out.stem}.png shows {len(captions)} of them"


def _read_arrays(images: Sequence[np.ndarray], task: Task, forms: Sequence[Form]) -> Iterator[dict[Form, np.ndarray]]:
    channels = len(task.channels)
    for number, image in enumerate(images):
        if image.dtype not in (np.uint8, np.uint16) or image.ndim != 3 or image.shape[-1] != channels or not image.size:
            raise BadInput(
                f"image {number}: expected uint8 or uint16 [H, W, {channels}] ({', '.join(task.channels)}), "
                f"received {image.dtype} {list(image.shape)}"
            )
    for start in range(0, len(images), BATCH):
        samples = [
            Sample([Path(f"image {start + place}")] * channels, list(np.moveaxis(image, -1, 0)), task)
            for place, image in enumerate(images[start : start + BATCH])
        ]
        yield {
            (size, ranges): np.stack([each.image(size, ranges or (None,) * channels) for each in samples])
            for size, ranges in forms
        }


def _channel_files(number: int, files: Any, task: Task) -> list[Path]:
    if isinstance(files, np.ndarray):
        raise BadInput(f"image {number}: expected files, as those before, received an array; give all in one form")
    paths = [Path(files)] if isinstance(files, str | Path) else [Path(each) for each in files]
    expected, channels = len(file_names(task)), ", ".join(task.channels)
    if len(paths) != expected:
        wanted = f"{expected} files, one for each of {channels}" if expected > 1 else f"one file with {channels}"
        raise BadInput(f"image {number}: expected {wanted}; received {len(paths)}")
    return paths
