"""The test set's predictions of many runs, with each image read once for all of them."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hpa.data.store import ImageStore, pack
from hpa.data.tables import read_sample_submission
from hpa.errors import BadInput, refuse
from hpa.files import locked
from hpa.models.catalog import load
from hpa.scoring.predictions import Predictions, read_predictions, write_predictions
from hpa.tasks import Task
from hpa.training.fit import just_in_time
from hpa.training.runs import read_settings

BATCH = 64


def predict(folders: Sequence[Path], task: Task, data: Path, runs: Path) -> None:
    """Write `test.npz` into the run folders; those whose file is newer than their model and the images are left alone.

    Runs that take images of one size share one pass over them. A pass that was interrupted goes on where it stopped.

    Args:
        folders: run folders with a `model.keras`.
        task: what is classified.
        data: folder in the competition's layout.
        runs: the folder of all runs; packed images go to its `stores` folder.

    Raises:
        BadInput: if a run has no model, or the sample submission or an image cannot be used.
    """
    refuse(runs, [f"{f}: no model.keras; train it first" for f in folders if not (f / "model.keras").exists()])
    ids = read_sample_submission(data / "sample_submission.csv").ids
    folders_of_size: dict[int, list[Path]] = defaultdict(list)
    for folder in folders:
        folders_of_size[read_settings(folder).size].append(folder)
    for size, group in folders_of_size.items():
        store = pack(runs / "stores" / f"test-{size}", data / "test", ids, task, size)
        with locked(runs / "stores" / ".predict.lock", wait=True):
            open_folders = [folder for folder in group if not _is_up_to_date(folder, store)]
            for folder in set(group) - set(open_folders):
                print(f"{folder / 'test.npz'} is up to date")
            if open_folders:
                _predict_together(open_folders, store, task)


def _is_up_to_date(folder: Path, store: ImageStore) -> bool:
    try:
        made = os.stat(folder / "test.npz").st_mtime_ns
        newest = max(os.stat(file).st_mtime_ns for file in (folder / "model.keras", store.folder / "stamps.npy"))
        return made > newest and np.array_equal(read_predictions(folder / "test.npz").ids, store.ids)
    except (FileNotFoundError, BadInput):
        return False


def _predict_together(folders: list[Path], store: ImageStore, task: Task) -> None:
    models = [load(folder / "model.keras") for folder in folders]
    for model in models:
        model.compile(jit_compile=just_in_time())
    partial = store.folder.parent / f".predictions-{_digest(folders, store)}.npy"
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
        for batch in np.array_split(rows, range(BATCH, len(rows), BATCH)):
            images = store.images[batch]
            for member, model in enumerate(models):
                probabilities[member, batch] = model.predict_on_batch(images)
            bar.update(len(batch))
    for folder, predicted in zip(folders, probabilities, strict=True):
        write_predictions(folder / "test.npz", Predictions(store.ids, task.classes, predicted))
        print(f"{folder / 'test.npz'} is written")
    partial.unlink()


def _digest(folders: list[Path], store: ImageStore) -> str:
    """Name a pass after all that its result depends on."""
    files = [*(folder / "model.keras" for folder in folders), store.folder / "stamps.npy"]
    return hashlib.sha256(repr([(str(file), os.stat(file).st_mtime_ns) for file in files]).encode()).hexdigest()[:16]
