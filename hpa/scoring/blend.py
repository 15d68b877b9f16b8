"""Member weights, and the blend of the members' probabilities that they give."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hpa.errors import BadInput
from hpa.scoring.members import Members
from hpa.scoring.metrics import macro_f1
from hpa.scoring.thresholds import find_thresholds, predict_classes


@dataclass(frozen=True)
class Ensemble:
    """What came of blending members. Every F1 is a macro F1 on the validation rows, found as `validation_f1` does.

    Attributes:
        member_f1: float64 array [members].
        weights: float64 array [members], of sum 1.
        f1: the blend's.
        thresholds: float64 array [classes], found on the blend's validation probabilities.
        predicted: bool array [test rows, classes].
        fallbacks: how many test rows took their strongest class because no class was above its threshold.
    """

    member_f1: np.ndarray
    weights: np.ndarray
    f1: float
    thresholds: np.ndarray
    predicted: np.ndarray
    fallbacks: int


def blend_members(members: Members, rule: str, shift: float, threshold: str | float) -> Ensemble:
    """Weigh the members by their validation F1, blend them, and predict the test set.

    Args:
        members: as `read_members` returns them.
        rule: `"shifted"` or `"equal"`, see `member_weights`.
        shift: what is taken off every F1 under the rule `"shifted"`.
        threshold: a rule of `find_thresholds`, applied to every member and anew to the blend.

    Raises:
        BadInput: if no member is left, see `member_weights`.
    """
    member_f1 = np.array([validation_f1(members.targets, each, threshold)[0] for each in members.validation])
    weights = member_weights(member_f1, rule, shift, members.names)
    f1, thresholds = validation_f1(members.targets, blend(members.validation, weights), threshold)
    predicted, fallbacks = predict_classes(blend(members.test, weights), thresholds)
    return Ensemble(member_f1, weights, f1, thresholds, predicted, fallbacks)


def validation_f1(targets: np.ndarray, probabilities: np.ndarray, threshold: str | float) -> tuple[float, np.ndarray]:
    """Return the macro F1 of what would be submitted for these rows, and the thresholds [classes] that it takes.

    Rows without a class count with their strongest class, as in a submission. Thresholds that are found are found on the
    same rows, so the F1 is a little too good; it is so for every member alike. Arguments as for `find_thresholds`.
    """
    thresholds = find_thresholds(threshold, targets, probabilities)
    predicted, _ = predict_classes(probabilities, thresholds)
    return macro_f1(targets, predicted), thresholds


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


def blend(probabilities: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the members' `probabilities`, each float32 [n, classes], as float32 [n, classes]."""
    total = np.zeros(probabilities[0].shape)
    for weight, own in zip(weights, probabilities, strict=True):
        total += weight * own
    return total.astype(np.float32)
