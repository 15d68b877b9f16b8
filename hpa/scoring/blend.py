"""The blend of an ensemble's members, and what it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa.data.tables import SampleTable
from hpa.errors import BadInput
from hpa.scoring.members import Members, read_members
from hpa.scoring.metrics import accuracy, macro_f1
from hpa.scoring.saved_thresholds import saved_choice
from hpa.scoring.thresholds import Rule, find_thresholds, predict_classes
from hpa.scoring.weights import blend, member_weights, require_above
from hpa.tta import NO_TTA, TTA


@dataclass(frozen=True)
class Ensemble:
    """What came of blending members. Every F1 is a macro F1 on the validation rows, found as `validation_f1` does.

    Attributes:
        member_f1: float64 array [members].
        weights: float64 array [members], of sum 1.
        f1: the blend's.
        thresholds: float64 array [classes], found on the blend's validation probabilities.
        accuracy: share of the validation rows of which the blend predicts exactly the right classes.
        probabilities: float32 array [test rows, classes], the blend's; no rows if there is no test set.
        predicted: bool array [test rows, classes].
        fallbacks: how many test rows took their strongest class because no class was above its threshold; 0 where that is
            what every row takes, as a sample has one label.
    """

    member_f1: np.ndarray
    weights: np.ndarray
    f1: float
    thresholds: np.ndarray
    accuracy: float
    probabilities: np.ndarray
    predicted: np.ndarray
    fallbacks: int


def blend_members(members: Members, rule: str, shift: float, threshold: Rule) -> Ensemble:
    """Weigh the members by their validation predictions, blend them, and predict the test set.

    Args:
        members: as `read_members` returns them.
        rule: one of `WEIGHTS`, see `member_weights`.
        shift: what is taken off every F1 under the rule `"shifted"`.
        threshold: a rule of `find_thresholds`, applied to every member and anew to the blend; where a sample has one
            label its strongest class is taken, whatever the rule.

    Raises:
        BadInput: if the rule is `"shifted"` and no member's F1 is above the shift.
    """
    threshold = "strongest" if members.labels == "one" else threshold
    f1_of_members = member_f1(members.targets, members.validation, threshold)
    if rule == "shifted":
        require_above(shift, f1_of_members, members.names)
    weights = member_weights(rule, f1_of_members, shift, members.targets, members.validation, threshold)
    validation = blend(members.validation, weights)
    f1, thresholds = validation_f1(members.targets, validation, threshold)
    right = accuracy(members.targets, predict_classes(validation, thresholds)[0])
    test = blend(members.test, weights) if members.test else np.empty((0, len(thresholds)), np.float32)
    predicted, fallbacks = predict_classes(test, thresholds)
    if members.labels == "one":
        fallbacks = 0
    return Ensemble(f1_of_members, weights, f1, thresholds, right, test, predicted, fallbacks)


def member_f1(targets: np.ndarray, validation: Sequence[np.ndarray], threshold: Rule) -> np.ndarray:
    """Return the `validation_f1` of each member, float64 [members], from the probabilities of each, float32 [n, classes]."""
    return np.array([validation_f1(targets, own, threshold)[0] for own in validation])


def validation_f1(targets: np.ndarray, probabilities: np.ndarray, threshold: Rule) -> tuple[float, np.ndarray]:
    """Return the macro F1 of what would be submitted for these rows, and the thresholds [classes] that it takes.

    Rows without a class count with their strongest class, as in a submission. Thresholds that are found are found on the
    same rows, so the F1 is a little too good; it is so for every member alike. Arguments as for `find_thresholds`.
    """
    thresholds = find_thresholds(threshold, targets, probabilities)
    predicted, _ = predict_classes(probabilities, thresholds)
    return macro_f1(targets, predicted), thresholds


def validation_thresholds(folders: Sequence[Path], labels: str, classes: int, tta: TTA = NO_TTA) -> np.ndarray:
    """Return the thresholds, float64 [classes], for the mean of some runs' probabilities with this `tta`.

    Where samples have many labels they are those that `hpa.thresholds` saved beside the runs. If it saved none for just
    these runs, they are found on the validation rows, which the runs must share, by the rule that it saved or else per
    class. Where samples have one label the strongest class is to be taken, and no validation is needed.

    They are those of the equal mean over members (see `read_members`): a validation row has one prediction of a run, by
    the fold that held it out, where any other image has one of every fold. A mean over all folders weighs the runs alike
    only if they have equally many folds.

    Raises:
        BadInput: if a run's `validation.npz` is absent, does not fit the others', has another number of classes or was made
            with another `tta`, or what was saved is for other classes.
    """
    return thresholds_and_rows(folders, labels, classes, tta)[0]


def thresholds_and_rows(
    folders: Sequence[Path], labels: str, classes: int, tta: TTA = NO_TTA
) -> tuple[np.ndarray, SampleTable | None]:
    """Return the `validation_thresholds`, and the rows that they were found on, None if they hang on no rows."""
    if labels == "one":
        return np.ones(classes), None
    members = read_members(folders, None)
    if len(members.classes) != classes:
        raise BadInput(
            f"{folders[0] / 'validation.npz'}: has {len(members.classes)} classes, the task of the run {classes}; "
            "restore the file of this run, or train it again"
        )
    if members.tta != tta:
        raise BadInput(
            f"{folders[0] / 'validation.npz'}: made with test-time augmentation {members.tta}, which gives no thresholds "
            f"for {tta}; predict the runs' own data with {tta} first, or ask for what it was made with"
        )
    rule, thresholds = saved_choice(folders, members.classes)
    if thresholds is None:
        thresholds = find_thresholds(rule, members.targets, blend(members.validation))
    return thresholds, None if isinstance(rule, float) else SampleTable(members.ids, members.targets)
