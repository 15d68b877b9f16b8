"""Predictions of many runs.

Images of the test set or of a folder are read once for all runs. Validation rows differ from run to run, so each run reads
its own.
"""

import hashlib
import itertools
import logging
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from tqdm import tqdm

from hpa.data.images import read_sample
from hpa.data.intensity import Ranges, remark
from hpa.data.parallel import map_in_threads, rows_of
from hpa.data.partition import pack_sets
from hpa.data.store import Images, ImageStore, pack, store_folder
from hpa.data.tables import has_test_set, read_ids
from hpa.errors import BadInput, Failure, refuse
from hpa.files import file_digest, locked, written_whole
from hpa.hardware import announce, jit_compile
from hpa.inference.engines import require_engine, with_engine
from hpa.models.catalog import load
from hpa.runs.folder import model_faults, model_shape, read_history, read_settings, read_task_of, require_table
from hpa.runs.split import read_partition
from hpa.scoring.predictions import Predictions, is_made_from, read_predictions, write_predictions
from hpa.tasks import Task
from hpa.tta import NO_TTA, TTA

logger = logging.getLogger(__name__)

BATCH = 64

# How a run reads the files of a sample: the side of its images in pixels, and the intensity range of 16-bit files.
Form = tuple[int, Ranges | None]


def predict(
    folders: Sequence[Path],
    data: Path,
    runs: Path,
    tta: TTA = NO_TTA,
    part: tuple[int, int] | None = None,
    engine: str = "keras",
) -> None:
    """Write `test.npz` into the run folders, and `validation.npz` again if it was made with another `tta`.

    Files that were made with the same `tta` from the present model and images stay. Runs whose images have the same size and
    intensity range share one pass over the test set, if `data` has one. An interrupted pass goes on where it stopped, but
    the validation rows of a run start again. Packed images go to `<runs>/stores`.

    With a part, (number from 1, count), only these test rows, and the validation rows of such a part of the runs, are
    predicted, maybe while others predict other parts. A call without it then writes the same files as without parts.

    The `engine` is one of `hpa.inference.engines.ENGINES`. A pass may go on with another one than it began with.

    Raises:
        BadInput: if a run has no model, the runs are of several tasks, or a table or an image cannot be used.
    """
    require_engine(engine)
    require_models(runs, folders)
    task = common_task(folders)
    for folder in folders[part[0] - 1 :: part[1]] if part else folders:
        _predict_validation(folder, task, data, runs, tta, engine)
    if not has_test_set(data):
        logger.info("%s: no test set here, neither test/ nor sample_submission.csv", data)
        return
    ids = read_ids(data, task)
    folders_of_form: dict[Form, list[Path]] = defaultdict(list)
    for folder in folders:
        folders_of_form[form_of(folder)].append(folder)
    for (size, ranges), group in folders_of_form.items():
        store = pack(store_folder(runs, data / "test", task, size, ranges), data / "test", ids, task, size, ranges)
        lock = f".predict-{part[0]}-{part[1]}.lock" if part else ".predict.lock"
        with locked(runs / "stores" / lock, wait=True):
            open_folders = []
            for folder in group:
                own = _up_to_date(folder, store, tta)
                if own is None:
                    open_folders.append(folder)
                    continue
                logger.info("%s is up to date", folder / "test.npz")
                # A kill may have left the pass that made it.
                _remove_unfinished(folder, store, _made_from(tta, own.stamps_sha256, own.model_sha256))
            if open_folders:
                _predict_together(open_folders, store, task, tta, part, engine)


def predict_as_validated(folders: Sequence[Path], data: Path) -> None:
    """Do `predict` for runs with the test-time augmentation that each one's `validation.npz` was made with."""
    alike: dict[tuple[Path, TTA], list[Path]] = defaultdict(list)
    for folder in folders:
        alike[folder.parent.parent, read_predictions(folder / "validation.npz").tta].append(folder)
    for (runs, tta), group in alike.items():
        predict(group, data, runs, tta)


def predict_files(
    folders: Sequence[Path], files: Sequence[Sequence[Path]], tta: TTA = NO_TTA, engine: str = "keras"
) -> np.ndarray:
    """Return the probabilities that the models of some runs give n samples, float32 [runs, n, classes].

    Each sample's channel files are read once for all runs.

    Raises:
        BadInput: if a run has no model, or naming all files that cannot be read.
    """
    require_models("runs", folders)
    models = [load_run(folder, engine) for folder in folders]
    announce(read_settings(folders[0]).precision)
    task = common_task(folders)
    forms = [form_of(folder) for folder in folders]
    members = {form: [number for number, own in enumerate(forms) if own == form] for form in forms}
    found = []
    for batch in read_batches(files, list(members), task):
        found.append(np.empty((len(folders), len(next(iter(batch.values()))), len(task.classes)), np.float32))
        for form, own in members.items():
            shown = min(BATCH, len(files))
            found[-1][own] = tta.predict_all([models[number] for number in own], batch[form], task.labels, shown)
    return np.concatenate(found, axis=1)


def predict_rows(
    model: keras.Model,
    images: Images,
    rows: np.ndarray,
    description: str,
    tta: TTA = NO_TTA,
    labels: str = "many",
) -> np.ndarray:
    """Return the outputs of a compiled model for some rows of packed images, float32 [rows, outputs]."""
    batches = np.array_split(rows, range(BATCH, len(rows), BATCH))
    bar = tqdm(batches, desc=description, disable=None)
    return np.concatenate([tta.predict(model, images[batch], labels, min(BATCH, len(rows))) for batch in bar])


def common_task(folders: Sequence[Path]) -> Task:
    """Return the task of some runs; raise BadInput if they are of several tasks."""
    tasks = {folder: read_task_of(folder) for folder in folders}
    first = folders[0]
    other = [folder for folder in folders if tasks[folder] != tasks[first]]
    refuse("runs", [f"{folder} is of the task {tasks[folder].name}, {first} of {tasks[first].name}" for folder in other])
    return tasks[first]


def form_of(folder: Path) -> Form:
    """Return how a run reads images."""
    settings = read_settings(folder)
    return settings.size, settings.intensity_range


def read_batches(files: Sequence[Sequence[Path]], forms: Sequence[Form], task: Task) -> Iterator[dict[Form, np.ndarray]]:
    """Decode the samples batch by batch, on all cores: for each form uint8 [B, S, S, C] of its size S."""
    faults: list[str] = []
    eight_bits = (None,) * len(task.channels)
    facts = np.zeros((len(files), 2 + len(task.channels) + bool(task.reading)), np.int32)
    folders = [os.path.commonpath([file.parent for file in sample]) for sample in files]
    root = Path(os.path.commonpath(folders))

    def read(row: int) -> list[np.ndarray]:
        sample = read_sample(files[row], task)
        facts[row] = sample.facts
        return [sample.image(size, ranges or eight_bits) for size, ranges in forms]

    def place(row: int) -> str:
        below = Path(folders[row]).relative_to(root)
        return "" if below == Path() else f"{below}: "

    images = map_in_threads(read, range(len(files)), "predicting", faults, name=place)
    while batch := list(itertools.islice(images, BATCH)):
        if not faults:
            yield {form: np.stack([each[number] for each in batch if each]) for number, form in enumerate(forms)}
    refuse(root, sorted(faults))
    for ranges in dict.fromkeys(ranges for _, ranges in forms):
        remark(root, [sample[0].name for sample in files], facts, task, ranges or eight_bits)


def require_models(where: object, folders: Sequence[Path]) -> None:
    """Raise BadInput if a run has no model, or validation.npz was made by another one."""
    refuse(where, [f"{folder}: {fault}" for folder in folders for fault in model_faults(folder)])


def load_run(folder: Path, engine: str = "keras") -> Any:
    """Return the compiled model of a run, or what predicts as it does with another of `hpa.inference.engines.ENGINES`.

    Raises:
        BadInput: if it is missing, damaged or of another shape than the run's, or the engine is not installed.
    """
    shape = model_shape(read_settings(folder), read_task_of(folder))
    model = load(folder / "model.keras", shape=shape)
    model.compile(jit_compile=jit_compile())
    return with_engine(model, engine, shape[0])


def _predict_validation(folder: Path, task: Task, data: Path, runs: Path, tta: TTA, engine: str) -> None:
    """Predict `validation.npz` again if it was made with another `tta`, and say how `tta` changes the validation score."""
    file = folder / "validation.npz"
    predictions = read_predictions(file) if file.exists() else None
    if not predictions and tta == NO_TTA and not (folder / "history.csv").exists():
        return  # the model of another program: training leaves both files
    if not predictions or predictions.tta != tta:
        settings = read_settings(folder)
        partition = read_partition(folder, settings, task, data)
        require_table(folder, partition.table)
        samples = partition.table.at(partition.validation)
        digest = file_digest(folder / "model.keras")
        images = pack_sets(partition, data, runs, task, settings.size, settings.intensity_range)
        announce(settings.precision)
        model = load_run(folder, engine)
        probabilities = predict_rows(model, images, partition.validation, str(file), tta, task.labels)
        predictions = Predictions(samples.ids, task.classes, probabilities, samples.targets, task.labels, tta, digest)
        if file_digest(folder / "model.keras") != digest:
            raise Failure(f"{folder}: a training replaced its model meanwhile; run this again when that has ended")
        write_predictions(file, predictions)
        logger.info("%s is written", file)
    if tta != NO_TTA and predictions.targets is not None:
        monitor = task.kind.monitor
        single = read_history(folder)[monitor.best].max()
        mean = monitor.scores(predictions.targets, predictions.probabilities)[monitor.best]
        logger.info(
            f"{folder}: validation {monitor.name} {single:.4f} with one view, "
            f"{mean:.4f} with the mean {tta.average} of {tta.views} ({mean - single:+.4f})"
        )


def _up_to_date(folder: Path, store: ImageStore, tta: TTA) -> Predictions | None:
    """Return what the test.npz of a run holds, or None if it is to be made."""
    file = folder / "test.npz"
    try:
        own = read_predictions(file)
    except BadInput:
        return None
    same = (
        own.tta == tta
        and np.array_equal(own.ids, store.ids)
        and is_made_from(store.folder / "stamps.npy", own.stamps_sha256, file)
        and is_made_from(folder / "model.keras", own.model_sha256, file)
    )
    return own if same else None


def _predict_together(
    folders: list[Path], store: ImageStore, task: Task, tta: TTA, part: tuple[int, int] | None, engine: str
) -> None:
    """Predict a part's rows, or what no part has, then write test.npz. Parts end where batches end."""
    # The digests come before the models are read: if a training replaces one meanwhile, it is predicted again.
    stamps_digest = file_digest(store.folder / "stamps.npy")
    model_digests = [file_digest(folder / "model.keras") for folder in folders]
    own = rows_of(part, len(store.ids), BATCH) if part else range(len(store.ids))
    found = []  # of each model float32 [n, classes]; NaN where still to be predicted
    for folder, digest in zip(folders, model_digests, strict=True):
        name = f"{_name_of_passes(folder, store)}{_made_from(tta, stamps_digest, digest)}"
        found.append(_unfinished(store.folder.parent, name, own, len(task.classes), whole=not part))
    rows = np.flatnonzero(np.any([np.isnan(each).any(axis=1) for each in found], axis=0))
    unfinished = [number for number, each in enumerate(found) if np.isnan(each).any()]
    models = {number: load_run(folders[number], engine) for number in unfinished}
    if models:
        announce(read_settings(folders[0]).precision)
    description = f"predicting with {len(models)} model{'s' if len(models) > 1 else ''}"
    with tqdm(total=len(own), initial=len(own) - len(rows), unit="img", desc=description, disable=None) as bar:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            images = store.images[own.start + batch]
            missing = [number for number in models if np.isnan(found[number][batch]).any()]
            shown = min(BATCH, len(store.ids))
            predicted = tta.predict_all([models[number] for number in missing], images, task.labels, shown)
            for number, probabilities in zip(missing, predicted, strict=True):
                found[number][batch] = probabilities
            bar.update(len(batch))
    if part:
        return
    for folder, probabilities, digest in zip(folders, found, model_digests, strict=True):
        made = {"model_sha256": digest, "stamps_sha256": stamps_digest}
        write_predictions(
            folder / "test.npz", Predictions(store.ids, task.classes, probabilities, None, task.labels, tta, **made)
        )
        logger.info("%s is written", folder / "test.npz")
    for folder in folders:
        _remove_unfinished(folder, store)


def _name_of_passes(folder: Path, store: ImageStore) -> str:
    """Return how the files of unfinished passes of a run begin, which lie next to the packed images."""
    place = os.path.relpath(folder.resolve(), store.folder.parent.resolve())
    return f".predictions-{hashlib.sha256(place.encode()).hexdigest()[:16]}-"


def _made_from(tta: TTA, stamps_digest: str | None, model_digest: str | None) -> str:
    """Return the digits by which a pass goes on only with the same images, model and test-time augmentation."""
    return hashlib.sha256(repr((tta, stamps_digest, model_digest)).encode()).hexdigest()[:16]


def _remove_unfinished(folder: Path, store: ImageStore, made_from: str = "") -> None:
    """Remove what passes of a run left, with their parts: of those `_made_from` this, or of all, earlier models' too."""
    for file in store.folder.parent.glob(f"{_name_of_passes(folder, store)}{made_from}*.npy"):
        file.unlink(missing_ok=True)


def _unfinished(place: Path, name: str, rows: range, classes: int, whole: bool) -> np.ndarray:
    """Return the file of an unfinished pass, float32 [rows, classes], with what its parts have if it is a whole one."""
    file = place / (f"{name}.npy" if whole else f"{name}-{rows.start}-{rows.stop}.npy")
    if not file.exists():
        with written_whole(file) as unfinished:
            np.save(unfinished, np.full((len(rows), classes), np.nan, np.float32))
    probabilities: np.ndarray = np.load(file, mmap_mode="r+")
    for part in sorted(place.glob(f"{name}-*.npy")) if whole else ():
        start, stop = map(int, part.stem.split("-")[-2:])
        missing = np.isnan(probabilities[start:stop])
        probabilities[start:stop][missing] = np.load(part)[missing]
    return probabilities
