"""From probabilities to predicted classes: thresholds that maximise the F1 of a set, and the rows that pass none.

A class is predicted when its probability is above its threshold. Cutting a descending list of probabilities between two
neighbours decides everything about a threshold but its exact value, so one sort shows the F1 of every threshold there is.
"""

import numpy as np

MINIMUM_POSITIVES = 10
TIED = 1e-12  # two F1 of one class differ by more than 1 / rows^2; less is rounding


def find_thresholds(rule: str | float, targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the threshold of every class, float64 [classes].

    Args:
        rule: `"per-class"` or `"global"`, found on the arrays by the functions below; `"strongest"`, which no probability
            passes, so that every row takes its strongest class; or the threshold itself.
        targets: bool array, or an array of 0 and 1, [n, classes].
        probabilities: float32 array [n, classes] in [0, 1].
    """
    if rule == "per-class":
        return best_class_thresholds(targets, probabilities)
    if rule == "strongest":
        return np.ones(targets.shape[1])
    threshold = best_global_threshold(targets, probabilities) if rule == "global" else float(rule)
    return np.full(targets.shape[1], threshold)


def best_global_threshold(targets: np.ndarray, probabilities: np.ndarray) -> np.float64:
    """Return the one threshold for all classes that maximises the macro F1; arguments as for `find_thresholds`."""
    # Not a Python float: compared with float32 probabilities NumPy would round that to float32, onto one of the two
    # probabilities it is to part.
    return _best_common_cut(*_f1_by_cut(targets, probabilities))


def best_class_thresholds(
    targets: np.ndarray, probabilities: np.ndarray, minimum_positives: int = MINIMUM_POSITIVES
) -> np.ndarray:
    """Return the thresholds that maximise each class's F1, float64 [classes].

    The best cut of a class with a handful of positives is chance. A class with fewer than `minimum_positives` therefore
    takes the best global threshold. Arguments as for `find_thresholds`.
    """
    ranked, f1 = _f1_by_cut(targets, probabilities)
    thresholds = np.array([_best_cut(*each) for each in zip(ranked, f1, strict=True)])
    rare = np.count_nonzero(targets, axis=0) < minimum_positives
    if rare.any():
        thresholds[rare] = _best_common_cut(ranked, f1)
    return thresholds


def predict_classes(probabilities: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, int]:
    """Return which classes are predicted, bool [n, classes], and how many rows fell back to their strongest class.

    A row without any probability above its threshold takes its strongest class, since an empty row scores nothing.

    Args:
        probabilities: float array [n, classes].
        thresholds: float64 array [classes].
    """
    predicted = probabilities > np.asarray(thresholds, np.float64)
    empty = np.flatnonzero(~predicted.any(axis=1))
    predicted[empty, probabilities[empty].argmax(axis=1)] = True
    return predicted, len(empty)


def _f1_by_cut(targets: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rank each class's probabilities downwards, [classes, n]; column k of the F1 is that of predicting the first k + 1."""
    # The bits of floats that are not negative sort as the floats do. Shifted over the sign, which is 0, they leave room
    # for the target, and one plain sort of integers takes half the time of argsort and two gathers.
    bits = np.ascontiguousarray(probabilities.T, np.float32).view(np.uint32)
    keys = np.sort((bits << 1) | np.asarray(targets.T, bool), axis=1)[:, ::-1]
    hits = np.cumsum(keys & 1, axis=1, dtype=np.int32)
    claims = np.arange(1, keys.shape[1] + 1) + hits[:, -1:]  # predicted plus positives
    return (keys >> 1).view(np.float32), 2 * hits / claims


def _best_common_cut(ranked: np.ndarray, f1: np.ndarray) -> np.float64:
    """Pool the classes' cuts in descending order: each adds its class's gain in F1 to the sum over classes."""
    gains = np.diff(f1, axis=1, prepend=0.0).ravel()
    order = np.argsort(ranked, axis=None)[::-1]
    return _best_cut(ranked.ravel()[order], np.cumsum(gains[order]))


def _best_cut(ranked: np.ndarray, scores: np.ndarray) -> np.float64:
    """Return the middle of the gap with the best score, of several equally good gaps the median one.

    Args:
        ranked: probabilities [n], descending.
        scores: the score [n] of predicting the first k + 1.
    """
    edges = np.concatenate([[1.0], ranked, [0.0]])  # float64: the middle of two float32 neighbours lies between them
    scores = np.concatenate([[0.0], scores])  # predicting none scores 0
    scores[edges[:-1] == edges[1:]] = -1.0  # equal probabilities cannot be cut apart
    best = np.flatnonzero(scores >= scores.max() - TIED)
    cut = best[len(best) // 2]
    return (edges[cut] + edges[cut + 1]) / 2
