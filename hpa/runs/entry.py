"""An entry: the blend of several models, its predictions of the test set, and the files of a submission."""

import contextlib
import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpa.data.tables import has_test_set, read_ids, read_sample_submission
from hpa.errors import BadInput
from hpa.files import write_json
from hpa.runs.folder import folds_of, read_task_of
from hpa.scoring.blend import Ensemble, blend_members
from hpa.scoring.comparison import compare_weights, sweep_shifts, write_table
from hpa.scoring.evaluation import write_prediction_table
from hpa.scoring.members import Members, read_members
from hpa.scoring.plots import draw_sweep, write_figure
from hpa.scoring.predictions import Predictions, read_predictions
from hpa.scoring.saved_thresholds import saved_choice
from hpa.scoring.submission import share_warnings, write_about, write_submission
from hpa.scoring.thresholds import Rule
from hpa.tasks import TASKS, Task

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entry:
    """The blend of several models.

    Attributes:
        members: what each model predicts, on the same validation and test rows.
        blend: the weights, thresholds, scores and predictions of the blend.
        ids: str array [test rows]; None if there is no test set.
        rule: the rule of the weights, one of `hpa.scoring.rules.WEIGHTS`.
        shift: what the rule `"shifted"` subtracts from the members' F1.
        threshold: the rule of the thresholds.
    """

    members: Members
    blend: Ensemble
    ids: np.ndarray | None
    rule: str
    shift: float
    threshold: Rule

    @property
    def rule_of_thresholds(self) -> str | float:
        """The rule of the thresholds by its name; a number is the threshold itself."""
        return self.threshold if isinstance(self.threshold, str | float) else "class-share"  # by given shares

    @property
    def score(self) -> float:
        """The blend's macro F1 on the validation rows."""
        return self.blend.f1

    @property
    def scores(self) -> dict[str, float]:
        """Each member's macro F1 on the validation rows, by its name."""
        return dict(zip(self.members.names, self.blend.member_f1.tolist(), strict=True))

    @property
    def weights(self) -> dict[str, float]:
        """Each member's weight, by its name; their sum is 1."""
        return dict(zip(self.members.names, self.blend.weights.tolist(), strict=True))

    @property
    def thresholds(self) -> dict[str, float]:
        """Each class' threshold, by its name."""
        return dict(zip(self.members.classes, self.blend.thresholds.tolist(), strict=True))

    @property
    def probabilities(self) -> pd.DataFrame:
        """The blend's probabilities of the test set, float32: a row for each id, a column for each class."""
        ids = np.empty(0, str) if self.ids is None else self.ids
        return pd.DataFrame(self.blend.probabilities, index=pd.Index(ids, name="Id"), columns=self.members.classes)

    def submission(self, path: str | Path) -> Path:
        """Write the submission, and a JSON of the same name with how it was made; return the path of what was written.

        Multi-label predictions have Kaggle's form, single-label ones are a table for people. Without a test set only the
        JSON is written. BadInput is raised if the name does not end in .csv.
        """
        path = Path(path)
        if path.suffix != ".csv":
            raise BadInput(f"out {path}: the name of a submission ends in .csv", setting="out")
        members, blend, about = self.members, self.blend, self._about()
        if self.ids is None:
            write_json(path.with_suffix(".json"), about)
            return path.with_suffix(".json")
        if not members.kind.exclusive:
            for warning in share_warnings(blend.predicted, members.targets, "the validation rows have", members.classes):
                logger.warning("%s: %s", path, warning)
            write_submission(path, self.ids, blend.predicted, about)
        else:
            predictions = Predictions(self.ids, members.classes, blend.probabilities, labels=members.labels)
            write_prediction_table(path, predictions, blend.thresholds)
            write_about(path, about)
        return path

    def _about(self) -> dict[str, Any]:
        """Return what the JSON next to the submission holds."""
        many = not self.members.kind.exclusive
        return {
            "members": [
                {"folder": name, "validation_f1": f1, "weight": self.weights[name]} for name, f1 in self.scores.items()
            ],
            "weights": self.rule,
            "shift": self.shift if self.rule == "shifted" else None,
            "threshold": self.rule_of_thresholds,
            "thresholds": self.thresholds,
            "validation_f1": self.blend.f1,
            "validation_accuracy": self.blend.accuracy,
            "validation_mean_class_accuracy": self.blend.mean_class_accuracy,
            "test_rows": len(self.blend.predicted),
            **({"test_rows_given_their_strongest_class": self.blend.fallbacks} if many else {}),
        }

    def __str__(self) -> str:
        """Return the members with their scores and weights, the blend's score, and counts of the test set."""
        width = max(len(name) for name in ("member", *self.scores))
        lines = [f"{'member':{width}}  validation F1  weight"]
        lines += [f"{name:{width}}  {f1:13.4f}  {self.weights[name]:6.4f}" for name, f1 in self.scores.items()]
        if ignored := [name for name, weight in self.weights.items() if weight == 0]:
            why = f", as F1 is not above the shift {self.shift}" if self.rule == "shifted" else ""
            lines.append(f"weight 0{why}: {', '.join(ignored)}")
        best = max(self.scores, key=self.scores.__getitem__)
        lines += [
            f"blend: validation macro F1 {self.score:.4f}; best single member {self.scores[best]:.4f} ({best})",
            f"weights {self.rule}, thresholds {self.rule_of_thresholds}",
        ]
        rows, fallbacks = len(self.blend.predicted), self.blend.fallbacks
        if self.members.kind.exclusive:
            both = f"accuracy {self.blend.accuracy:.4f}, mean class accuracy {self.blend.mean_class_accuracy:.4f}"
            lines.append(f"blend: validation {both}")
            lines += [f"test: {rows} rows"] if rows else []
        elif rows:
            lines.append(
                f"test: {self.blend.predicted.sum() / rows:.2f} classes a row; {fallbacks} of {rows} rows "
                f"({fallbacks / rows:.1%}) had no class above its threshold: their most probable one is predicted"
            )
        return "\n".join(lines if rows else [*lines, "no test set"])


def members_of_entry(file: Path, about: Mapping[str, Any]) -> list[tuple[list[Path], float]]:
    """Return the folders and the weight of each member of an entry, by what the JSON `file` next to its submission says.

    Raises:
        BadInput: if it names no members with folder and weight, or the weights have no sum.
    """
    members = about.get("members")
    whole = isinstance(members, list) and all(
        isinstance(each, dict) and "folder" in each and isinstance(each.get("weight"), int | float) for each in members
    )
    if not members or not whole:
        raise BadInput(f"{file}: names no members; name the JSON that hpa ensemble wrote next to its submission")
    found = []
    for each in members:
        name, folds = re.fullmatch(r"(.*?)( \(\d+ folds\))?", str(each["folder"]), re.DOTALL).groups()  # type: ignore[union-attr]
        found.append((folds_of(Path(name)) if folds else [Path(name)], float(each["weight"])))
    if sum(weight for _, weight in found) <= 0:
        raise BadInput(f"{file}: the weights have no sum; write it anew with hpa ensemble")
    return found


def make_entry(
    folders: Sequence[Path],
    data: Path,
    task: Task | None = None,
    sample_submission: Path | None = None,
    weights: str = "shifted",
    shift: float = 0.34,
    threshold: Rule | None = None,
) -> Entry:
    """Blend run folders or other members.

    Args:
        folders: run folders, or other folders with `validation.npz` and, if there is a test set, `test.npz`.
        data: folder of the data, which may have a test set.
        task: what is classified; None for that of the first member.
        sample_submission: a CSV that names the test rows; None for the one in `data`.
        weights: a rule of `hpa.scoring.weights.member_weights`.
        shift: of the rule `"shifted"`.
        threshold: a rule of `hpa.scoring.thresholds.find_thresholds`; None for the one saved next to all members, or per
            class.

    Raises:
        BadInput: if the members do not fit each other, the task or the test set.
    """
    members, ids, rule = _read_blend(folders, data, task, sample_submission, threshold)
    return Entry(members, blend_members(members, weights, shift, rule), ids, weights, shift, rule)


def compare_blends(
    folders: Sequence[Path],
    data: Path,
    task: Task | None,
    sample_submission: Path | None,
    threshold: Rule | None,
    out: Path,
    shift: float | None,
    shifts: Sequence[float],
    seed: int,
) -> str:
    """Compare rules for the weights on rows that they have not seen, write tables and return them for people.

    The members are those of `make_entry`. With a `shift` all rules are compared, `"shifted"` with that shift, in
    `<out>-weights.csv`. With `shifts` the rule `"shifted"` is compared for each of them, in `<out>-shifts.csv` and
    `<out>-shifts.png`. The `seed` is that of the folds and of the resampled rows.
    """
    members, _, rule = _read_blend(folders, data, task, sample_submission, threshold)
    files, lines = [], []
    if shift is not None:
        table = compare_weights(members, shift, rule, seed)
        files.append(out.with_name(f"{out.stem}-weights.csv"))
        lines.append(write_table(files[-1], table))
        if "shifted" not in table.index:
            lines.append(f"no member's F1 is above the shift {shift}, so shifted has no row")
    if shifts:
        table = sweep_shifts(members, shifts, rule, seed)
        files += [out.with_name(f"{out.stem}-shifts{suffix}") for suffix in (".csv", ".png")]
        lines.append(write_table(files[-2], table))
        if missing := [each for each in shifts if each not in table.index]:
            lines.append(f"no member's F1 is above the shift from {missing[0]:g} on")
        write_figure(files[-1], draw_sweep(table, f"{len(members.names)} members"))
    return "\n".join([*lines, f"no submission; wrote {', '.join(map(str, files))}"])


def _read_blend(
    folders: Sequence[Path], data: Path, task: Task | None, sample_submission: Path | None, threshold: Rule | None
) -> tuple[Members, np.ndarray | None, Rule]:
    """Return the members, the ids of the test set (str [n], None if there is none), and the rule of the thresholds."""
    ids = _test_ids(data, _task_of_members(folders, task), sample_submission)
    members = read_members(folders, ids)
    first_of: dict[bytes, str] = {}
    for name, probabilities in zip(members.names, members.validation, strict=True):
        first = first_of.setdefault(hashlib.sha256(probabilities.tobytes()).digest(), name)
        if first != name:
            logger.warning("%s and %s are the same model and count twice; leave one of them out", name, first)
    if members.kind.rule:
        if threshold is not None:
            raise BadInput(f"threshold: {members.kind.words} tasks have no thresholds; leave it out", setting="threshold")
        return members, ids, members.kind.rule
    return members, ids, saved_choice(folders, members.classes)[0] if threshold is None else threshold


def _task_of_members(folders: Sequence[Path], task: Task | None) -> Task | None:
    """Return the task of the members, None if it is unknown; raise BadInput if the first member is not of a given `task`."""
    file = folders[0] / "validation.npz"
    if not file.is_file():  # `read_members` names all that is missing
        return task
    first = read_predictions(file)
    if task is None:
        with contextlib.suppress(BadInput):
            return read_task_of(folders[0])
        return {(each.classes, each.labels): each for each in TASKS.values()}.get((first.classes, first.labels))
    if (task.classes, task.labels) != (first.classes, first.labels):
        classes = f"{len(first.classes)} classes from '{first.classes[0]}' to '{first.classes[-1]}'"
        other = f"{file} is of another task, {first.kind.words} with {classes}; leave it out, or name that one"
        raise BadInput(f"task {task.name}: {other}", setting="task")
    return task


def _test_ids(data: Path, task: Task | None, sample_submission: Path | None) -> np.ndarray | None:
    """Return the ids of the test set, None if the data has none."""
    if sample_submission:
        return read_sample_submission(sample_submission).ids
    if not has_test_set(data):
        return None
    if task is not None:
        return read_ids(data, task)
    if (data / "sample_submission.csv").exists():
        return read_sample_submission(data / "sample_submission.csv").ids
    raise BadInput("task: the members do not say how the files of a test image are named; name their task", setting="task")
