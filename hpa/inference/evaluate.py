"""Trained models on labelled images: predicted, blended and scored."""

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
from hpa.inference.images import SHOWN_SIDE
from hpa.inference.predict import common_task, predict_files
from hpa.runs.split import learned_ids
from hpa.scoring.blend import thresholds_and_rows
from hpa.scoring.conformal import class_levels, describe_sets, label_sets
from hpa.scoring.evaluation import Evaluation, evaluate, write_evaluation
from hpa.scoring.members import read_members
from hpa.scoring.predictions import Predictions
from hpa.scoring.selective import confidence, group_intervals, selective_accuracy, votes
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

    @property
    def last(self) -> Evaluation:
        """The evaluation that is written: the only one, or that of the blend."""
        *_, last = self.evaluations.values()
        return last

    @property
    def selective(self) -> pd.DataFrame:
        """How right the surest predictions of the last evaluation are, see `selective_accuracy`."""
        own = self.last.predictions
        return selective_accuracy(own.known_targets, self.last.predicted, confidence(own.probabilities, own.kind.exclusive))

    def by_group(self, groups: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Return intervals over groups (see `read_groups`) and the groups' votes, of the last evaluation."""
        own = self.last.predictions
        numbers = read_groups(groups, own.ids)
        assert numbers is not None
        return group_intervals(own, self.last.predicted, numbers), votes(own, numbers)

    def label_sets(
        self, folders: Sequence[Path], coverage: float, groups: str | None = None
    ) -> tuple[pd.DataFrame, dict[str, float]]:
        """Return the label sets of the last evaluation, and how good they are: `describe_sets`, and `also calibrated`.

        The runs' own validation rows, in `groups` if there are some, give the level of each class. The frame has the columns
        `Id` and `Set`, class names separated by ` | `. Images of which a share has also calibrated make this too good.

        Raises:
            BadInput: if a `validation.npz` cannot be used or was made with another test-time augmentation.
        """
        members, own = read_members(folders, None), self.last.predictions
        if members.tta != own.tta:
            fix = f"predict the runs' own data with {own.tta} first, or use that of the file"
            raise BadInput(
                f"{folders[0] / 'validation.npz'}: made with {members.tta}, which gives no label sets for {own.tta}; {fix}"
            )
        assert members.ids is not None
        levels = class_levels(members.targets, blend(members.validation), coverage, read_groups(groups, members.ids))
        sets = label_sets(own.probabilities, levels)
        names = [" | ".join(compress(own.classes, row)) for row in sets.tolist()]
        quality = describe_sets(own.known_targets, sets) | {"also calibrated": float(np.isin(own.ids, members.ids).mean())}
        return pd.DataFrame({"Id": own.ids, "Set": names}), quality

    def _pictures(self, rows: np.ndarray) -> np.ndarray:
        return pictures_of([self.files[row] for row in rows], self.task, SHOWN_SIDE)


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
    for folder in folders:
        both = samples.ids[np.isin(samples.ids, learned_ids(folder))]
        if len(both):
            say_once(
                f"{data}: {folder} learned from {len(both)} of these {len(samples)} ids "
                f"({first_of([shown(each) for each in both])}); if they are the same images, its scores are too good"
            )
    cuts = [thresholds_and_rows(own, task.labels, len(task.classes), tta) for own in members.values()]
    probabilities = list(predict_files(folders, files, tta))
    if len(folders) > 1:
        probabilities.append(blend(probabilities))
    evaluations = {
        name: evaluate(Predictions(samples.ids, task.classes, own, samples.targets, task.labels, tta), *found)
        for name, own, found in zip(members, probabilities, cuts, strict=True)
    }
    return Evaluated(evaluations, data, table, files, task)
