"""Member weights, and the blend of the members' probabilities that they give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa.errors import BadInput
from hpa.scoring.members import Members, read_members
from hpa.scoring.metrics import accuracy, macro_f1
from hpa.scoring.thresholds import find_thresholds, predict_classes


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
        fallbacks: how many test rows took their strongest class because no class was above its threshold.
    """

    member_f1: np.ndarray
    weights: np.ndarray
    f1: float
    thresholds: np.ndarray
    accuracy: float
    probabilities: np.ndarray
    predicted: np.ndarray
    fallbacks: int


def blend_members(members: Members, rule: str, shift: float, threshold: str | float) -> Ensemble:
    """Weigh the members by their validation F1, blend them, and predict the test set.

    Args:
        members: as `read_members` returns them.
        rule: `"shifted"` or `"equal"`, see `member_weights`.
        shift: what is taken off every F1 under the rule `"shifted"`.
        threshold: a rule of `find_thresholds`, applied to every member and anew to the blend; where a sample has one
            label its strongest class is taken, whatever the rule.

    Raises:
        BadInput: if no member is left, see `member_weights`.
    """
    threshold = "strongest" if members.labels == "one" else threshold
    member_f1 = np.array([validation_f1(members.targets, each, threshold)[0] for each in members.validation])
    weights = member_weights(member_f1, rule, shift, members.names)
    validation = blend(members.validation, weights)
    f1, thresholds = validation_f1(members.targets, validation, threshold)
    right = accuracy(members.targets, predict_classes(validation, thresholds)[0])
    test = blend(members.test, weights) if members.test else np.empty((0, len(thresholds)), np.float32)
    return Ensemble(member_f1, weights, f1, thresholds, right, test, *predict_classes(test, thresholds))


def validation_f1(targets: np.ndarray, probabilities: np.ndarray, threshold: str | float) -> tuple[float, np.ndarray]:
    """Return the macro F1 of what would be submitted for these rows, and the thresholds [classes] that it takes.

    Rows without a class count with their strongest class, as in a submission. Thresholds that are found are found on the
    same rows, so the F1 is a little too good; it is so for every member alike. Arguments as for `find_thresholds`.
    """
    thresholds = find_thresholds(threshold, targets, probabilities)
    predicted, _ = predict_classes(probabilities, thresholds)
    return macro_f1(targets, predicted), thresholds


def validation_thresholds(folders: Sequence[Path], labels: str, classes: int) -> np.ndarray:
    """Return the thresholds, float64 [classes], for the mean of some runs' probabilities.

    Where samples have many labels they are the best per class on the validation rows, which the runs must share; where
    they have one, the strongest class is to be taken, and no validation is needed.

    Raises:
        BadInput: if a run's `validation.npz` is absent or does not fit the others'.
    """
    if labels == "one":
        return np.ones(classes)
    members = read_members(folders, None)
    return find_thresholds("per-class", members.targets, blend(members.validation))


def member_weights(f1: np.ndarray, rule: str, shift: float, names: Sequence[str]) -> np.ndarray:
    """Return the weight of every member, float64 [members] of sum 1.

    Args:
        f1: the members' validation F1 [members].
        rule: `"shifted"`: F1 minus `shift`, 0 where that is negative, divided by the sum; `"equal"`: the same for all.
        shift: between the members' F1 and 0; the nearer it is to them, the more the best member counts.
        names: the members' names [members], for the error.

    Raises:
        BadInput: if no F1 is above the shift; names every F1 and a shift that keeps every member.
    """
    raw = {"shifted": np.maximum(f1 - shift, 0), "equal": np.ones(len(f1))}[rule]
    if not 0 < raw.sum() < np.inf:  # nan fails too
        scores = ", ".join(f"{name} {score:.4f}" for name, score in zip(names, f1, strict=True))
        keeps_all = math.ceil(round(min(f1) * 100, 6)) / 100 - 0.01
        raise BadInput(
            f"no member's F1 is above the shift {shift}: {scores}; --shift {keeps_all:.2f} keeps them all, "
            "and --weights equal needs none"
        )
    return raw / raw.sum()


def blend(probabilities: Sequence[np.ndarray], weights: np.ndarray | None = None) -> np.ndarray:
    """Return the weighted mean of the members' `probabilities`, each float32 [n, classes], as float32 [n, classes].

    Without `weights`, [members] of sum 1, all members weigh the same.
    """
    if weights is None:
        weights = np.full(len(probabilities), 1 / len(probabilities))
    total = np.zeros(probabilities[0].shape)
    for weight, own in zip(weights, probabilities, strict=True):
        total += weight * own
    return total.astype(np.float32)
