"""Trained models on labelled images: predicted, blended and scored."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa.data.layout import find_files
from hpa.data.tables import read_labelled
from hpa.inference.images import pictures_of
from hpa.inference.predict import common_task, predict_files
from hpa.scoring.blend import thresholds_and_rows
from hpa.scoring.evaluation import Evaluation, evaluate, write_evaluation
from hpa.scoring.predictions import Predictions
from hpa.scoring.weights import blend
from hpa.tasks import Task
from hpa.tta import NO_TTA, TTA


@dataclass(frozen=True)
class Evaluated:
    """Some runs' evaluations on the same labelled images."""

    evaluations: dict[str, Evaluation]  # of each run, by its folder, and last of their blend with equal weights
    data: Path  # the folder of the images
    table: Path | None  # of their classes, if one was named
    files: list[list[Path]]  # of each image's channels
    task: Task

    def write(self, folder: Path) -> None:
        """Write scores, tables and pictures into a folder, see `write_evaluation`."""
        write_evaluation(folder, self.evaluations, self._pictures, self.data, self.table)

    def _pictures(self, rows: np.ndarray) -> np.ndarray:
        return pictures_of([self.files[row] for row in rows], self.task)


def evaluate_runs(folders: Sequence[Path], data: Path, table: Path | None = None, tta: TTA = NO_TTA) -> Evaluated:
    """Predict labelled images with every run's model, blend the predictions and score all of them.

    The images of `data` are in class folders, or their classes in `table`; None stands for the one next to `data`.

    Raises:
        BadInput: if the runs are of several tasks or without thresholds, or an image or label cannot be used.
    """
    task = common_task(folders)
    samples = read_labelled(data, task, table)
    files = find_files(data, samples.ids, task, whole=True)
    members = {str(folder): [folder] for folder in folders}
    if len(folders) > 1:
        members[f"blend of {len(folders)}"] = list(folders)
    cuts = [thresholds_and_rows(own, task.labels, len(task.classes), tta) for own in members.values()]
    probabilities = list(predict_files(folders, files, tta))
    if len(folders) > 1:
        probabilities.append(blend(probabilities))
    evaluations = {
        name: evaluate(Predictions(samples.ids, task.classes, own, samples.targets, task.labels, tta), *found)
        for name, own, found in zip(members, probabilities, cuts, strict=True)
    }
    return Evaluated(evaluations, data, table, files, task)
