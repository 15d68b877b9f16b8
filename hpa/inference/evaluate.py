"""Trained models on labelled images: predicted, blended and scored."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd

from hpa.data.groups import read_groups
from hpa.data.layout import find_files, say_once
from hpa.data.pictures import pictures_of
from hpa.data.tables import read_labelled
from hpa.errors import BadInput, first_of, shown
from hpa.files import write_csv
from hpa.inference.images import SHOWN_SIDE
from hpa.inference.predict import common_task, predict_files
from hpa.runs.split import learned_ids
from hpa.scoring.blend import thresholds_and_rows
from hpa.scoring.conformal import class_levels, describe_sets, label_sets
from hpa.scoring.evaluation import Evaluation, evaluate, write_evaluation
from hpa.scoring.folds import join_folds
from hpa.scoring.members import read_members
from hpa.scoring.predictions import Predictions
from hpa.scoring.selective import confidence, group_intervals, selective_accuracy, votes
from hpa.scoring.weights import blend
from hpa.tasks import Task
from hpa.tta import NO_TTA, TTA

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """What label sets are made by.

    Attributes:
        levels: float64 array [classes], from which probability on a class is in the set, see `class_levels`.
        ids: str array [m], the validation rows that gave the levels.
    """

    levels: np.ndarray
    ids: np.ndarray


@dataclass(frozen=True)
class Evaluated:
    """Some runs' evaluations on the same labelled images."""

    evaluations: dict[str, Evaluation]  # of each run, by its folder, and last of their blend with equal weights
    data: Path  # the folder of the images
    table: Path | None  # of their classes, if one was named
    files: list[list[Path]]  # of each image's channels
    task: Task
    groups: np.ndarray | None = None  # of the images, int64 [n], if they have groups
    calibration: Calibration | None = None  # of label sets, if they were asked for

    def write(self, folder: Path) -> None:
        """Write scores, tables and pictures into a folder, see `write_evaluation`, and label sets into sets.csv.

        Its columns are `Id` and `Set`, class names separated by ` | `. That of an earlier evaluation is deleted.
        """
        (folder / "sets.csv").unlink(missing_ok=True)
        write_evaluation(folder, self.evaluations, self._pictures, self.data, self.table)
        if self.calibration is not None:
            own = self.last.predictions
            names = [" | ".join(compress(own.classes, row)) for row in self.sets.tolist()]
            write_csv(folder / "sets.csv", pd.DataFrame({"Id": own.ids, "Set": names}))

    @property
    def last(self) -> Evaluation:
        """The evaluation that is written: the only one, or that of the blend."""
        *_, last = self.evaluations.values()
        return last

    @property
    def selective(self) -> pd.DataFrame:
        """How right the surest predictions of the last evaluation are, see `selective_accuracy`."""
        own, predicted = self.last.predictions, self.last.predicted
        sure = confidence(own.probabilities, predicted, None if own.kind.exclusive else self.last.thresholds)
        return selective_accuracy(own.known_targets, predicted, sure)

    @property
    def intervals(self) -> pd.DataFrame:
        """The scores of the last evaluation with intervals over groups, which the images have, see `group_intervals`."""
        assert self.groups is not None
        return group_intervals(self.last.predictions, self.last.predicted, self.groups)

    @property
    def votes(self) -> pd.DataFrame:
        """What the groups, which the images have, say in the last evaluation, see `votes`."""
        assert self.groups is not None
        return votes(self.last.predictions, self.groups)

    @property
    def sets(self) -> np.ndarray:
        """The label sets of the last evaluation, which were asked for, bool [n, classes]."""
        assert self.calibration is not None
        return label_sets(self.last.predictions.probabilities, self.calibration.levels)

    @property
    def quality_of_sets(self) -> dict[str, float]:
        """How good the label sets are: `describe_sets`, and `also calibrated`.

        The latter is the share of the images that are themselves validation rows of the runs, which makes the rest too good.
        """
        assert self.calibration is not None
        own = self.last.predictions
        both = np.isin(own.ids, self.calibration.ids)
        return describe_sets(own.known_targets, self.sets) | {"also calibrated": float(both.mean())}

    def _pictures(self, rows: np.ndarray) -> np.ndarray:
        return pictures_of([self.files[row] for row in rows], self.task, SHOWN_SIDE)


def evaluate_runs(
    folders: Sequence[Path],
    data: Path,
    table: Path | None = None,
    tta: TTA = NO_TTA,
    groups: str | None = None,
    coverage: float | None = None,
) -> Evaluated:
    """Predict labelled images with every run's model, blend the predictions and score all of them.

    All else is checked before anything is predicted.

    Args:
        folders: the run folders.
        data: the images, in class folders or with a table.
        table: the CSV of their classes; None for the one next to `data`, or the class folders.
        tta: test-time augmentation.
        groups: the groups of the images, and of the runs' validation rows for label sets, see `read_groups`. With label
            sets the images may have none; a warning says so.
        coverage: the probability with which the label set of an image has its class; None for no label sets.

    Raises:
        BadInput: if the runs are of several tasks or without thresholds, an image, a label or the groups cannot be used, or
            for label sets a `validation.npz` cannot be used or was made with another test-time augmentation.
    """
    task = common_task(folders)
    samples = read_labelled(data, task, table)
    files = find_files(data, samples.ids, task, whole=True)
    members = {str(folder): [folder] for folder in folders}
    if len(folders) > 1:
        members[f"blend of {len(folders)}"] = list(folders)
    cuts = [thresholds_and_rows(own, task.labels, len(task.classes), tta) for own in members.values()]
    calibration = None if coverage is None else _calibrate(folders, tta, coverage, groups)
    for folder in folders:
        both = samples.ids[np.isin(samples.ids, learned_ids(folder))]
        if len(both):
            say_once(
                f"{data}: {folder} learned from {len(both)} of these {len(samples)} ids "
                f"({first_of([shown(each) for each in both])}); if they are the same images, its scores are too good"
            )
    group_of_image = _groups_of_images(groups, samples.ids, data, needed=coverage is None)
    probabilities = list(predict_files(folders, files, tta))
    if len(folders) > 1:
        probabilities.append(blend(probabilities))
    evaluations = {
        name: evaluate(Predictions(samples.ids, task.classes, own, samples.targets, task.labels, tta), *found)
        for name, own, found in zip(members, probabilities, cuts, strict=True)
    }
    return Evaluated(evaluations, data, table, files, task, group_of_image, calibration)


def _calibrate(folders: Sequence[Path], tta: TTA, coverage: float, groups: str | None) -> Calibration:
    """Find the levels of label sets on the runs' own validation rows, in their groups if there are some."""
    members = read_members(folders, None)
    if members.tta != tta:
        file, fix = folders[0] / "validation.npz", f"predict the runs' own data with {tta} first, or use that of the file"
        raise BadInput(f"{file}: made with {members.tta}, which gives no label sets for {tta}; {fix}")
    assert members.ids is not None
    if any(len(each) > 1 for each in join_folds(folders).values()):
        logger.warning(
            "label sets: calibrated by the network of one fold for each validation row, but of these images the mean of all "
            "folds is predicted, so the coverage is not guaranteed; name one fold for that"
        )
    own = read_groups(groups, members.ids)
    return Calibration(class_levels(members.targets, blend(members.validation), coverage, own), members.ids)


def _groups_of_images(groups: str | None, ids: np.ndarray, data: Path, needed: bool) -> np.ndarray | None:
    """Return the groups of the images with some ids, int64 [n]; None without groups, or if they have none and need none."""
    try:
        return read_groups(groups, ids)
    except BadInput as error:
        if needed:
            raise
        # The groups themselves are sound: those of the validation rows were read.
        why = str(error).splitlines()[0]
        logger.warning("%s: its images have no groups (%s), so there are no intervals over groups", data, why)
        return None
