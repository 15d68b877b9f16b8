"""Predictions of many runs.

Images of the test set or of a folder are read once for all runs; validation rows, which differ from run to run, once a run.
"""

import hashlib
import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
from tqdm import tqdm

from hpa.data.images import read_sample
from hpa.data.intensity import Ranges, remark
from hpa.data.partition import pack_sets
from hpa.data.store import ImageStore, pack, store_folder
from hpa.data.tables import has_test_set, read_ids
from hpa.errors import BadInput, refuse
from hpa.files import cores, file_digest, locked
from hpa.models.catalog import just_in_time, load
from hpa.runs.folder import (
    model_faults,
    model_shape,
    read_history,
    read_settings,
    read_task_of,
    require_table,
)
from hpa.runs.monitor import MONITORS, validation_scores
from hpa.runs.split import read_partition
from hpa.scoring.predictions import Predictions, is_made_from, read_predictions, write_predictions
from hpa.tasks import Task
from hpa.tta import NO_TTA, TTA

BATCH = 64

# What a run makes of the files of a sample: the side of its images in pixels, and the intensity range of 16-bit files.
Form = tuple[int, Ranges | None]


def predict(folders: Sequence[Path], data: Path, runs: Path, tta: TTA = NO_TTA) -> None:
    """Write `test.npz` into the run folders, and `validation.npz` anew where it was made with another `tta`.

    What was made from its model and its images as they are now, with the same `tta`, is left alone. Runs that
    take images of one size and intensity range share one pass over the test set, and if that was interrupted, it goes on
    where it stopped. The validation rows of a run are a pass of their own, which begins anew.

    Args:
        folders: run folders with a `model.keras`.
        data: folder of the data. Where it has no test set, only validation rows are predicted.
        runs: the folder of all runs; packed images go to its `stores` folder.
        tta: test-time augmentation.

    Raises:
        BadInput: if a run has no model, the runs are of several tasks, or a table or an image cannot be used.
    """
    _require_models(runs, folders)
    task = common_task(folders)
    for folder in folders:
        _predict_validation(folder, task, data, runs, tta)
    if not has_test_set(data):
        print(f"{data}: no test set here, neither test/ nor sample_submission.csv")
        return
    ids = read_ids(data, task)
    folders_of_form: dict[Form, list[Path]] = defaultdict(list)
    for folder in folders:
        folders_of_form[_form_of(folder)].append(folder)
    for (size, ranges), group in folders_of_form.items():
        folder = store_folder(runs, data / "test", task, size, ranges)
        store = pack(folder, data / "test", ids, task, size, ranges)
        with locked(runs / "stores" / ".predict.lock", wait=True):
            open_folders = [folder for folder in group if not _is_up_to_date(folder, store, tta)]
            for folder in set(group) - set(open_folders):
                print(f"{folder / 'test.npz'} is up to date")
            if open_folders:
                _predict_together(open_folders, store, task, tta)


def predict_as_validated(folders: Sequence[Path], data: Path) -> None:
    """Do `predict` for runs with the test-time augmentation that each one's `validation.npz` was made with."""
    alike: dict[tuple[Path, TTA], list[Path]] = defaultdict(list)
    for folder in folders:
        alike[folder.parent.parent, read_predictions(folder / "validation.npz").tta].append(folder)
    for (runs, tta), group in alike.items():
        predict(group, data, runs, tta)


def predict_files(folders: Sequence[Path], files: Sequence[Sequence[Path]], tta: TTA = NO_TTA) -> np.ndarray:
    """Return what the models of some runs think of some samples, reading each image once for all runs.

    Args:
        folders: run folders with a `model.keras`.
        files: the channel files of each of n samples.
        tta: test-time augmentation.

    Returns:
        float32 array [runs, n, classes].

    Raises:
        BadInput: if a run has no model, or naming every file that cannot be read.
    """
    _require_models("--run", folders)
    models = [load_run(folder) for folder in folders]
    task = common_task(folders)
    forms = [_form_of(folder) for folder in folders]
    probabilities = np.empty((len(models), len(files), models[0].output.shape[-1]), np.float32)
    start = 0
    for batch in _batches(files, list(dict.fromkeys(forms)), task):
        stop = start + len(batch[forms[0]])
        for number, (model, form) in enumerate(zip(models, forms, strict=True)):
            probabilities[number, start:stop] = tta.predict(model, batch[form], task.labels)
        start = stop
    return probabilities


def predict_rows(
    model: keras.Model,
    images: np.ndarray,
    rows: np.ndarray,
    description: str,
    tta: TTA = NO_TTA,
    labels: str = "many",
) -> np.ndarray:
    """Return the outputs of a compiled model for some rows of packed images, float32 [rows, outputs]."""
    batches = np.array_split(rows, range(BATCH, len(rows), BATCH))
    bar = tqdm(batches, desc=description, disable=None)
    return np.concatenate([tta.predict(model, images[batch], labels) for batch in bar])


def common_task(folders: Sequence[Path]) -> Task:
    """Return the task of some runs.

    Raises:
        BadInput: if they are of several tasks.
    """
    tasks = {folder: read_task_of(folder) for folder in folders}
    first = folders[0]
    other = [folder for folder in folders if tasks[folder] != tasks[first]]
    refuse("runs", [f"{folder} is of the task {tasks[folder].name}, {first} of {tasks[first].name}" for folder in other])
    return tasks[first]


def _form_of(folder: Path) -> Form:
    settings = read_settings(folder)
    return settings.size, settings.intensity_range


def _batches(files: Sequence[Sequence[Path]], forms: Sequence[Form], task: Task) -> Iterator[dict[Form, np.ndarray]]:
    """Decode the samples batch by batch, on all cores: uint8 [B, S, S, C] for each form, of the size S."""
    faults: list[tuple[Sequence[Path], BadInput]] = []
    eight_bits = (None,) * len(task.channels)
    facts = np.zeros((len(files), 2 + len(task.channels)), np.int32)

    def read(row: int) -> list[np.ndarray]:
        try:
            sample = read_sample(files[row])
            facts[row] = sample.facts
            return [sample.image(size, ranges or eight_bits) for size, ranges in forms]
        except BadInput as error:
            faults.append((files[row], error))
            return []

    with (
        ThreadPoolExecutor(cores()) as pool,
        tqdm(total=len(files), unit="img", desc="predicting", disable=None) as bar,
    ):
        for start in range(0, len(files), BATCH):
            images = list(pool.map(read, range(start, min(start + BATCH, len(files)))))
            if not faults:
                yield {form: np.stack([each[place] for each in images]) for place, form in enumerate(forms)}
            bar.update(len(images))
    folder = _folder_of(itertools.chain.from_iterable(files))
    if faults:
        places = [(_folder_of(sample).relative_to(folder), error) for sample, error in faults]
        refuse(folder, sorted(f"{error}" if place == Path() else f"{place}: {error}" for place, error in places))
    for ranges in dict.fromkeys(ranges for _, ranges in forms):
        remark(folder, [sample[0].name for sample in files], facts, task, ranges or eight_bits)


def _folder_of(files: Iterable[Path]) -> Path:
    """Return the innermost folder that all of some files lie in."""
    return Path(os.path.commonpath([file.parent for file in files]))


def _require_models(where: object, folders: Sequence[Path]) -> None:
    refuse(where, [f"{folder}: {fault}" for folder in folders for fault in model_faults(folder)])


def load_run(folder: Path) -> keras.Model:
    """Return the compiled model of a run.

    Raises:
        BadInput: if it is missing, damaged or of another shape than the run's settings and task say.
    """
    model = load(folder / "model.keras", shape=model_shape(read_settings(folder), read_task_of(folder)))
    model.compile(jit_compile=just_in_time())
    return model


def _predict_validation(folder: Path, task: Task, data: Path, runs: Path, tta: TTA) -> None:
    """Bring `validation.npz` to this `tta`, and say what they do to the score that training kept the best epoch by."""
    file = folder / "validation.npz"
    predictions = read_predictions(file) if file.exists() else None
    made_with = predictions.tta if predictions else None
    if not predictions and not (folder / "history.csv").exists():  # no run of hpa.train, which leaves both
        made_with = NO_TTA
    if made_with != tta:
        settings = read_settings(folder)
        partition = read_partition(folder, settings, task, data)
        require_table(folder, partition.table)
        samples = partition.table.at(partition.validation)
        digest = file_digest(folder / "model.keras")
        images = pack_sets(partition, data, runs, task, settings.size, settings.intensity_range)
        probabilities = predict_rows(load_run(folder), images, partition.validation, str(file), tta, task.labels)
        predictions = Predictions(samples.ids, task.classes, probabilities, samples.targets, task.labels, tta, digest)
        write_predictions(file, predictions)
        print(f"{file} is written")
    if tta.views > 1:
        monitor = MONITORS[task.labels]
        single = read_history(folder)[monitor.best].max()
        mean = validation_scores(task.labels, predictions.targets, predictions.probabilities)[monitor.best]
        print(
            f"{folder}: validation {monitor.name} {single:.4f} with one view, "
            f"{mean:.4f} with the mean {tta.average} of {tta.views} ({mean - single:+.4f})"
        )


def _is_up_to_date(folder: Path, store: ImageStore, tta: TTA) -> bool:
    file = folder / "test.npz"
    try:
        own = read_predictions(file)
    except BadInput:
        return False
    return (
        own.tta == tta
        and np.array_equal(own.ids, store.ids)
        and is_made_from(store.folder / "stamps.npy", own.stamps_sha256, file)
        and is_made_from(folder / "model.keras", own.model_sha256, file)
    )


def _predict_together(folders: list[Path], store: ImageStore, task: Task, tta: TTA) -> None:
    # Before the models are read: one that a training replaces meanwhile is then predicted again.
    stamps_digest = file_digest(store.folder / "stamps.npy")
    model_digests = [file_digest(folder / "model.keras") for folder in folders]
    models = [load_run(folder) for folder in folders]
    name = hashlib.sha256(repr((tta, stamps_digest, model_digests)).encode()).hexdigest()[:16]
    partial = store.folder.parent / f".predictions-{name}.npy"  # named after all that the result depends on
    for other in set(partial.parent.glob(".predictions-*.npy")) - {partial}:
        other.unlink()  # of a pass that was given up: one of its models or images has changed
    if not partial.exists():
        unfinished = partial.with_suffix(".partial.npy")
        np.save(unfinished, np.full((len(folders), len(store.ids), len(task.classes)), np.nan, np.float32))
        os.replace(unfinished, partial)
    probabilities = np.load(partial, mmap_mode="r+")  # [models, n, classes]; NaN where still to be predicted
    rows = np.flatnonzero(np.isnan(probabilities).any(axis=(0, 2)))
    description = f"predicting with {len(models)} model{'s' if len(models) > 1 else ''}"
    with tqdm(total=len(store.ids), initial=len(store.ids) - len(rows), unit="img", desc=description, disable=None) as bar:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            images = store.images[batch]
            for member, model in enumerate(models):
                probabilities[member, batch] = tta.predict(model, images, task.labels)
            bar.update(len(batch))
    for folder, predicted, digest in zip(folders, probabilities, model_digests, strict=True):
        made_from = {"model_sha256": digest, "stamps_sha256": stamps_digest}
        predictions = Predictions(store.ids, task.classes, predicted, None, task.labels, tta, **made_from)
        write_predictions(folder / "test.npz", predictions)
        print(f"{folder / 'test.npz'} is written")
    partial.unlink()
