"""The weights of an ensemble's members: the rules that find them on validation rows."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hpa.errors import BadInput
from hpa.scoring.binned import quick_macro_f1
from hpa.scoring.thresholds import TIED, Rule

SELECTIONS = 20
STEPS = (1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64)


def member_weights(
    rule: str, f1: np.ndarray, shift: float, targets: np.ndarray, validation: Sequence[np.ndarray], threshold: Rule
) -> np.ndarray:
    """Return the weight of every member, float64 [members], at least 0, with the sum 1.

    Args:
        rule: one of:

            - `"shifted"`: F1 minus `shift`, or 0 if that is negative, divided by the sum. If no F1 is above the shift, the
              best member gets the weight 1, as with a shift just below its F1; `require_above` raises in this case.
            - `"equal"`: the same for all.
            - `"greedy"`: how often a member is chosen in forward selection with replacement (Caruana et al., "Ensemble
              Selection from Libraries of Models", ICML 2004): 20 times the member is added that gives the best mean, and
              the best of the 20 means is kept.
            - `"optimum"`: a compass search on the simplex (Kolda, Lewis and Torczon, "Optimization by Direct Search",
              SIAM Review 2003), as the macro F1 has no gradient. It starts at equal weights or the best member alone,
              changes one weight by a step while this helps, and ends when no step of 1/64 helps, in a local optimum.
        f1: the members' validation F1 [members].
        shift: for `"shifted"`.
        targets: array of 0 and 1, [n, classes]; the last two rules maximise the macro F1 of `quick_macro_f1`.
        validation: the members' probabilities, each float32 [n, classes].
        threshold: a rule of `find_thresholds`.
    """
    if rule == "shifted":
        raw = np.maximum(f1 - shift, 0)
        raw = raw if raw.any() else (f1 == f1.max()).astype(float)
        return raw / raw.sum()
    if rule == "equal" or len(validation) == 1:
        return np.full(len(f1), 1 / len(f1))
    search = {"greedy": _greedy_weights, "optimum": _optimal_weights}[rule]
    return search(validation, quick_macro_f1(threshold, targets))


def is_above(shift: float, f1: np.ndarray) -> bool:
    """Return whether the shift is finite and any member's F1 [members] is above it."""
    return bool(np.isfinite(shift) and (f1 > shift).any())


def require_above(shift: float, f1: np.ndarray, names: Sequence[str]) -> None:
    """Raise BadInput if no F1 `is_above` the shift, with every F1 [members] and a shift below all of them."""
    if not is_above(shift, f1):
        scores = ", ".join(f"{name} {score:.4f}" for name, score in zip(names, f1, strict=True))
        keeps_all = math.ceil(round(min(f1) * 100, 6)) / 100 - 0.01
        fix = f"the shift {keeps_all:.2f} keeps them all, and equal weights need none"
        raise BadInput(f"no member's F1 is above the shift {shift}: {scores}; {fix}")


def blend(probabilities: Sequence[np.ndarray], weights: np.ndarray | None = None) -> np.ndarray:
    """Return the weighted mean of the members' `probabilities`, float32 [n, classes] like each of them.

    Without `weights`, [members] with the sum 1, all members have the same weight.
    """
    if weights is None:
        weights = np.full(len(probabilities), 1 / len(probabilities))
    total: Any = 0.0
    weighted = None  # the same memory for all
    for weight, own in zip(weights, probabilities, strict=True):
        weighted = np.multiply(own, weight, out=weighted, dtype=np.float64)
        total += weighted
    return np.asarray(total, np.float32)


def _greedy_weights(validation: Sequence[np.ndarray], score: Callable[[np.ndarray], float]) -> np.ndarray:
    chosen, total, best = np.zeros(len(validation)), np.zeros_like(validation[0]), -1.0
    for count in range(1, SELECTIONS + 1):
        share = np.float32(1 / count)
        scores = [score((total + own) * share) for own in validation]
        member = int(np.argmax(scores))
        chosen[member] += 1
        total += validation[member]
        if scores[member] > best + TIED:
            best, weights = scores[member], chosen / count
    return weights


def _optimal_weights(validation: Sequence[np.ndarray], score: Callable[[np.ndarray], float]) -> np.ndarray:
    count = len(validation)
    starts = [np.full(count, 1 / count), *np.eye(count)]
    scores = [score(blend(validation, weights)) for weights in starts]
    weights, best = starts[np.argmax(scores)], max(scores)
    for step in STEPS:
        improved = True
        while improved:
            improved = False
            mean = blend(validation, weights)
            for member, own in enumerate(validation):
                for change in (step, -min(step, weights[member])):
                    total = 1 + change
                    if not change or total < TIED:
                        continue
                    moved = (mean + np.float32(change) * own) * np.float32(1 / total)
                    found = score(moved)
                    if found > best + TIED:
                        best, mean, improved = found, moved, True
                        weights = (weights + change * (np.arange(count) == member)) / total
                        break
    return weights
