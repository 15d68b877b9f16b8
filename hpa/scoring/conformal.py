"""Label sets with a stated coverage, by split conformal prediction; and how strange a sample is.

A set holds every class whose probability reaches the class's level. Levels come from labelled samples that the network has
not learned from: the level of a class is such that of its samples at least the stated share reach it. So a new sample's
class is in its set with at least the stated probability, whatever the network is worth, if the new sample comes from where
those samples came from (Vovk, "Conditional validity of inductive conformal predictors", 2013, section 3). This also holds
for each class of multi-label samples.

Samples of one specimen are no independent samples. With groups the guarantee is for a sample of a new group: each group
counts as much as any other, and the new one counts as one more of which nothing is known (Lee, Barber and Willett,
"Distribution-free inference with hierarchical data", 2023). A class with few groups then has the level 0, which all reach.
"""

import numpy as np

ROUNDING = 1e-9


def class_levels(
    targets: np.ndarray, probabilities: np.ndarray, coverage: float, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the level of each class, float64 [classes].

    Args:
        targets: array [n, classes] of 0 and 1.
        probabilities: float array [n, classes], of samples that the network has not learned from.
        coverage: the probability from 0 to 1 with which a true class shall be in the set, for every class.
        groups: integer array [n], the group of each sample, for a guarantee on new groups; None if each is its own.
    """
    rows, classes = np.nonzero(targets)
    true = probabilities[rows, classes].astype(np.float64)
    of_row = np.arange(len(targets)) if groups is None else groups
    parts = [classes == number for number in range(targets.shape[1])]
    return np.array([_level(true[part], of_row[rows[part]], 1 - coverage) for part in parts])


def _level(true: np.ndarray, groups: np.ndarray, error: float) -> float:
    """Return the highest level below which, of a new group too, lie at most `error` of the probabilities [n]; 0 if none."""
    order = np.argsort(true)
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    share = 1 / (len(sizes) + 1)
    below = share + np.cumsum(share / sizes[group[order]]) - share / sizes[group[order]]  # without the sample itself
    allowed = np.flatnonzero(below <= error + ROUNDING)
    return float(true[order[allowed[-1]]]) if len(allowed) else 0.0


def label_sets(probabilities: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return which classes are in each sample's set, bool [n, classes]; a set may be empty."""
    return probabilities >= levels


def describe_sets(targets: np.ndarray, sets: np.ndarray) -> dict[str, float]:
    """Return how good label sets [n, classes] are, by name.

    `coverage` is the share of the true labels that are in their sets, `class coverage` the lowest of a class, `mean size`
    how many classes a set has, `single` the share of sets with one class and `empty` of those with none.
    """
    targets = np.asarray(targets, bool)
    there = targets.any(axis=0)
    by_class = (targets & sets).sum(axis=0)[there] / targets.sum(axis=0)[there]
    sizes = sets.sum(axis=1)
    return {
        "coverage": float((targets & sets).sum() / targets.sum()),
        "class coverage": float(by_class.min()),
        "mean size": float(sizes.mean()),
        "single": float((sizes == 1).mean()),
        "empty": float((sizes == 0).mean()),
    }


def p_values(strangeness: np.ndarray, known: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Return for each sample the p-value of the claim that it comes from where the known ones came from, float64 [n].

    Of samples from there at most a share p has a p-value of p or less, so a low one says "none of these".

    Args:
        strangeness: float array [n], say the distances to the nearest training samples in the space of the features.
        known: float array [m], that of samples of the known classes that the network has not learned from.
        groups: integer array [m], the group of each known sample, as for `class_levels`.
    """
    _, group, sizes = np.unique(np.arange(len(known)) if groups is None else groups, return_inverse=True, return_counts=True)
    share, order = 1 / (len(sizes) + 1), np.argsort(known)
    at_least = np.append(np.cumsum((share / sizes[group[order]])[::-1])[::-1], 0)
    return np.minimum(share + at_least[np.searchsorted(known[order], strangeness, side="left")], 1)
