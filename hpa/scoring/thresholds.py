"""From probabilities to predicted classes: the rules that find thresholds.

A class is predicted if its probability is above its threshold; if none is, the most probable one is. All thresholds
between two neighbours in the sorted probabilities predict the same rows, so one sort gives the F1 of every threshold. For
31,072 rows and 28 classes this takes 0.10 s; a loop over 100 thresholds with scikit-learn's `f1_score` takes 231 times as
long (tests/benchmarks/scoring.py).
"""

from dataclasses import dataclass

import numpy as np

from hpa.scoring.rules import THRESHOLDS

Rule = str | float | np.ndarray  # see find_thresholds
HALFWAY = 5  # positives at which a class's own threshold and the common one weigh the same
FLOOR = 0.001  # of the rule "per-class", so that no class is predicted for every row
COARSE = 64  # cuts of each class by which those near the best one are found
TIED = 1e-12  # two F1 of one class differ by more than 1 / rows^2; less is rounding


@dataclass(frozen=True)
class Cuts:
    """The ways to cut each class's probabilities in two, from predicting few rows to predicting all.

    Attributes:
        values: float32 array [classes, k], or [1, k] for all classes alike, descending; cut j predicts the rows from the
            highest down to `values[:, j]`.
        hits: int array [classes, k], the positives among the rows that cut j predicts.
        predicted: int array [classes or 1, k], how many rows it predicts.
    """

    values: np.ndarray
    hits: np.ndarray
    predicted: np.ndarray

    @property
    def positives(self) -> np.ndarray:
        """Each class's positives, int array [classes]."""
        return self.hits[:, -1]

    @property
    def f1(self) -> np.ndarray:
        """Each class's F1, float64 array [classes, k]; see `_f1`."""
        return _f1(self.hits, self.predicted, self.positives[:, np.newaxis])


def find_thresholds(rule: Rule, targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the threshold of every class, float64 [classes], never 0.

    Args:
        rule: one of:

            - `"global"`: the one threshold for all classes that maximises the macro F1.
            - `"per-class"`: the threshold that maximises the class's F1, shrunk to the global one, since the best cut of
              few positives is chance: with n positives the logit of the threshold is n / (n + 5) times its own plus
              5 / (n + 5) times the global one. It is at least 0.001.
            - `"class-share"`: each class is predicted as often as it occurs in `targets`; one that does not occur gets
              the global threshold. The validation rows have the shares of the training set, since folds are stratified.
            - an array [classes] of shares in (0, 1]: each class is predicted for this share of the rows.
            - `"strongest"`: 1. No probability is above it, so that the most probable class is predicted.
            - a number: the threshold itself.
        targets: bool array, or an array of 0 and 1, [n, classes].
        probabilities: float32 array [n, classes] in [0, 1].
    """
    if isinstance(rule, np.ndarray) or rule in THRESHOLDS:
        return thresholds_of_cuts(rule, sorted_cuts(targets, probabilities))
    return np.full(targets.shape[1], 1.0 if rule == "strongest" else float(rule))


def thresholds_of_cuts(rule: str | np.ndarray, cuts: Cuts) -> np.ndarray:
    """Return what `find_thresholds` returns, from cuts; `rule` is one of `THRESHOLDS` or an array of shares."""
    classes = len(cuts.positives)
    if isinstance(rule, np.ndarray):
        return _cut_by_count(cuts, rule * cuts.predicted[:, -1])
    # Not Python floats: NumPy would round these to float32 when it compares them with float32 probabilities, and so to one
    # of the two probabilities that they separate.
    common = _best_common_cut(cuts)
    if rule == "global":
        return np.full(classes, common)
    if rule == "class-share":
        return np.where(cuts.positives, _cut_by_count(cuts, cuts.positives), common)
    own = best_class_thresholds(cuts)
    trust = cuts.positives / (cuts.positives + HALFWAY)
    shrunk = 1 / (1 + np.exp(-(trust * _logit(own) + (1 - trust) * _logit(common))))
    return np.maximum(np.where(cuts.positives, shrunk, common), FLOOR)


def best_global_threshold(targets: np.ndarray, probabilities: np.ndarray) -> np.float64:
    """Return the one threshold for all classes that maximises the macro F1; arguments as for `find_thresholds`."""
    return _best_common_cut(sorted_cuts(targets, probabilities))


def best_class_thresholds(cuts: Cuts) -> np.ndarray:
    """Return the thresholds that maximise each class's F1, float64 [classes]; of equally good cuts the median one."""
    if len(cuts.values) < len(cuts.hits):
        return _best_cut(cuts.values, cuts.f1)
    own = [np.broadcast_to(each, cuts.hits.shape)[:, np.newaxis] for each in (cuts.values, cuts.hits, cuts.predicted)]
    return np.array([_best_common_cut(Cuts(*each)) for each in zip(*own, strict=True)])


def predict_classes(probabilities: np.ndarray, thresholds: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the predicted classes, bool [n, classes], and in how many rows no probability was above its threshold.

    There the most probable class is predicted, since an empty row scores nothing.

    Args:
        probabilities: float array [n, classes].
        thresholds: float64 array [classes].
    """
    predicted = probabilities > np.asarray(thresholds, np.float64)
    empty = np.flatnonzero(~predicted.any(axis=1))
    predicted[empty, probabilities[empty].argmax(axis=1)] = True
    return predicted, len(empty)


def most_probable_class(probabilities: np.ndarray, thresholds: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """Return the most probable class of each row, bool [n, classes], and 0: no row falls back to it. No threshold counts."""
    predicted = np.zeros(probabilities.shape, bool)
    predicted[np.arange(len(predicted)), probabilities.argmax(axis=1)] = True
    return predicted, 0


def sorted_cuts(targets: np.ndarray, probabilities: np.ndarray) -> Cuts:
    """Return the cut below every single probability; arguments as for `find_thresholds`."""
    # The bits of floats that are not negative sort like the floats. Shifted over the sign, which is 0, they leave room for
    # the target. One sort of integers takes half the time of argsort and two gathers. All is done in place: fresh memory
    # takes longer than the sums.
    bits = np.array(probabilities.T, np.float32, order="C").view(np.uint32)
    bits <<= 1
    bits |= np.asarray(targets.T, bool)
    bits.sort(axis=1)
    descending = bits[:, ::-1]
    hits = np.empty(bits.shape, np.int32)
    np.bitwise_and(descending, 1, out=hits, casting="unsafe")
    np.cumsum(hits, axis=1, out=hits)
    bits >>= 1
    return Cuts(descending.view(np.float32), hits, np.arange(1, bits.shape[1] + 1)[np.newaxis])


def _f1(hits: np.ndarray, predicted: np.ndarray, positives: np.ndarray) -> np.ndarray:
    """Return 2 TP / (predictions + positives), and 0 where there is neither."""
    return np.asarray(2 * hits / np.maximum(predicted + positives, 1))


def _logit(probability: np.ndarray | np.float64) -> np.ndarray | np.float64:
    return np.log(probability) - np.log1p(-probability)


def _best_common_cut(cuts: Cuts) -> np.float64:
    """Return the best threshold for all classes: in descending order each cut adds its class's gain in F1 to the sum.

    Only cuts near the best are sorted. Between two coarse cuts no class has a higher F1 than with the hits of the lower one
    and the predictions of the higher one, which leaves few of the stretches between coarse cuts.
    """
    if len(cuts.values) < len(cuts.hits):
        return _best_cut(cuts.values, cuts.f1.mean(axis=0, keepdims=True))[0]
    count, positives = cuts.values.shape[1], cuts.positives[:, np.newaxis]
    coarse = np.sort(cuts.values[:, :: -max(count // COARSE, 1)], axis=None)[::-1]
    ends = count - np.stack([np.searchsorted(own[::-1], coarse) for own in cuts.values])  # cuts down to each, by class
    starts = np.concatenate([0 * ends[:, :1], ends[:, :-1]], axis=1)
    predicted = np.broadcast_to(cuts.predicted, cuts.hits.shape)
    hits, most, least = (
        np.where(down, np.take_along_axis(each, np.maximum(down, 1) - 1, axis=1), 0)
        for each, down in ((cuts.hits, ends), (predicted, ends), (predicted, starts))
    )
    score, bound = (_f1(hits, each, positives).sum(axis=0) for each in (most, least))
    near = np.flatnonzero(bound >= score[coarse > 0].max(initial=0) - 2 * TIED)  # no threshold is below a probability of 0
    # One stretch more at each end: the outermost cuts, whose neighbours are left out, are not the best.
    first, last = starts[:, max(near[0] - 1, 0)], ends[:, min(near[-1] + 1, len(coarse) - 1)]
    total, values, gains = 0.0, [], []
    for number, (start, end) in enumerate(zip(first, last, strict=True)):
        with_one_before = slice(max(start - 1, 0), end)
        f1 = _f1(cuts.hits[number, with_one_before], predicted[number, with_one_before], positives[number])
        total += f1[0] if start else 0
        values.append(cuts.values[number, start:end])
        gains.append(np.diff(f1) if start else np.diff(f1, prepend=0))
    order = np.argsort(np.concatenate(values))[::-1]
    scores = total + np.cumsum(np.concatenate(gains)[order])
    return _best_cut(np.concatenate(values)[np.newaxis, order], scores[np.newaxis], total)[0]


def _cut_by_count(cuts: Cuts, wanted: np.ndarray) -> np.ndarray:
    """Return the thresholds, float64 [classes], with `wanted`, [classes], rows above them, or as near as ties allow."""
    wanted = np.broadcast_to(wanted, len(cuts.positives))[:, np.newaxis]
    return _best_cut(cuts.values, -np.abs(cuts.predicted - wanted), -wanted)


def _best_cut(values: np.ndarray, scores: np.ndarray, score_of_none: np.ndarray | float = 0.0) -> np.ndarray:
    """Return the middle of the gap with the best score, of equally good gaps the median one, float64 [classes].

    Values are descending probabilities [classes or 1, k], and scores those of predicting the rows down to each of them.
    """
    ends = np.ones((len(values), 1), values.dtype)
    edges = np.concatenate([ends, values, 0 * ends], axis=1)
    scores = np.concatenate([np.broadcast_to(score_of_none, (len(scores), 1)), scores], axis=1)
    scores = np.where(edges[:, :-1] == edges[:, 1:], -np.inf, scores)  # equal probabilities cannot be cut apart
    classes, cuts = np.nonzero(scores >= scores.max(axis=1, keepdims=True) - TIED)
    counts = np.bincount(classes)
    cut = cuts[np.cumsum(counts) - counts + counts // 2][:, np.newaxis]
    edges = np.broadcast_to(edges, (len(scores), edges.shape[1]))
    above, below = (np.take_along_axis(edges, each, axis=1)[:, 0].astype(np.float64) for each in (cut, cut + 1))
    return (above + below) / 2  # in float64: the middle of two float32 neighbours lies between them
