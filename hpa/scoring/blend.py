"""The blend of an ensemble's members, and what it predicts."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa.data.tables import SampleTable
from hpa.errors import BadInput
from hpa.files import cores
from hpa.labels import LABELS
from hpa.scoring.members import Members, read_members
from hpa.scoring.metrics import accuracy, macro_f1, mean_class_accuracy
from hpa.scoring.saved_thresholds import saved_choice
from hpa.scoring.thresholds import Rule, find_thresholds, predict_classes
from hpa.scoring.weights import blend, member_weights, require_above
from hpa.tta import NO_TTA, TTA


@dataclass(frozen=True)
class Ensemble:
    """A blend of members. Every F1 is the macro F1 on the validation rows, see `validation_f1`.

    Attributes:
        member_f1: float64 array [members].
        weights: float64 array [members], of sum 1.
        f1: that of the blend.
        thresholds: float64 array [classes], from the blend's validation probabilities.
        accuracy: share of the validation rows whose classes are all predicted right.
        mean_class_accuracy: mean recall of the classes that occur in the validation rows.
        probabilities: float32 array [test rows, classes] of the blend; no rows if there is no test set.
        predicted: bool array [test rows, classes].
        fallbacks: test rows without a class above its threshold, where the most probable one is predicted; 0 for
            single-label samples.
    """

    member_f1: np.ndarray
    weights: np.ndarray
    f1: float
    thresholds: np.ndarray
    accuracy: float
    mean_class_accuracy: float
    probabilities: np.ndarray
    predicted: np.ndarray
    fallbacks: int


def blend_members(members: Members, rule: str, shift: float, threshold: Rule) -> Ensemble:
    """Weight the members by their validation predictions, blend them, and predict the test set.

    The `rule` of the weights and its `shift` are as for `member_weights`; BadInput is raised if no member's F1 is above the
    shift of `"shifted"`. The `threshold` is a rule of `find_thresholds` for every member and for the blend. For single-label
    samples the most probable class is predicted, whatever the rule.
    """
    threshold = members.kind.rule or threshold
    f1_of_members = member_f1(members.targets, members.validation, threshold)
    if rule == "shifted":
        require_above(shift, f1_of_members, members.names)
    weights = member_weights(rule, f1_of_members, shift, members.targets, members.validation, threshold)
    validation = blend(members.validation, weights)
    f1, thresholds = validation_f1(members.targets, validation, threshold)
    right = members.targets, members.kind.decide(validation, thresholds)[0]
    accuracies = accuracy(*right), mean_class_accuracy(*right)
    test = blend(members.test, weights) if members.test else np.empty((0, len(thresholds)), np.float32)
    predicted, fallbacks = members.kind.decide(test, thresholds)
    return Ensemble(f1_of_members, weights, f1, thresholds, *accuracies, test, predicted, fallbacks)


def member_f1(targets: np.ndarray, validation: Sequence[np.ndarray], threshold: Rule) -> np.ndarray:
    """Return the `validation_f1` of each member, float64 [members], from the probabilities of each, float32 [n, classes]."""
    with ThreadPoolExecutor(min(cores(), 4)) as pool:  # each needs about ten times the memory of a member
        return np.array(list(pool.map(lambda own: validation_f1(targets, own, threshold)[0], validation)))


def validation_f1(targets: np.ndarray, probabilities: np.ndarray, threshold: Rule) -> tuple[float, np.ndarray]:
    """Return the macro F1 of what is predicted, and the thresholds, float64 [classes], that `find_thresholds` finds.

    Thresholds are searched on the same rows, so the F1 is a little too good, for every member alike.
    """
    thresholds = find_thresholds(threshold, targets, probabilities)
    predicted, _ = predict_classes(probabilities, thresholds)
    return macro_f1(targets, predicted), thresholds


def thresholds_and_rows(
    folders: Sequence[Path], labels: str, classes: int, tta: TTA = NO_TTA
) -> tuple[np.ndarray, SampleTable | None]:
    """Return the thresholds, float64 [classes], for the mean of some runs' probabilities with this `tta`.

    They are 1 for single-label samples: the most probable class is predicted. Multi-label samples get those that
    `hpa thresholds` saved next to the runs. If none were saved for exactly these runs, they are searched on the validation
    rows that the runs share, by the saved rule or else per class. Members count equally, see `read_members`. The second
    value has the rows of this search, None without one.

    Raises:
        BadInput: if a `validation.npz` is absent, does not fit the others, has another number of classes or was made with
            another `tta`, or if the saved thresholds are for other classes.
    """
    if LABELS[labels].rule:
        return np.ones(classes), None
    members = read_members(folders, None)
    file = folders[0] / "validation.npz"
    if len(members.classes) != classes:
        fix = "restore the file of this run, or train it again"
        raise BadInput(f"{file}: has {len(members.classes)} classes, the task of the run {classes}; {fix}")
    if members.tta != tta:
        fix = f"predict the runs' own data with {tta} first, or use that of the file"
        raise BadInput(f"{file}: made with {members.tta}, which gives no thresholds for {tta}; {fix}")
    rule, thresholds = saved_choice(folders, members.classes)
    if thresholds is None:
        thresholds = find_thresholds(rule, members.targets, blend(members.validation))
    rows = None if isinstance(rule, float) or members.ids is None else SampleTable(members.ids, members.targets)
    return thresholds, rows
