"""What an evaluation says of specimens and of sure answers: scores with intervals over groups, votes, selective accuracy."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from hpa.scoring.comparison import basic_interval
from hpa.scoring.predictions import Predictions
from hpa.tta import EPSILON

RESAMPLES = 2000
SHARES = (1.0, 0.9, 0.8, 0.7, 0.5)


def group_intervals(
    predictions: Predictions, predicted: np.ndarray, groups: np.ndarray, resamples: int = RESAMPLES
) -> pd.DataFrame:
    """Return two scores with basic bootstrap intervals of 95 % over groups, whose rows are drawn together.

    They are `accuracy` and `mean class accuracy` of single-label samples, `exact match` and `macro F1` of multi-label ones.
    `predicted` is bool [n, classes], `groups` integers [n]. The frame has a row for each, and the columns `score`, `low` and
    `high`.
    """
    targets = np.asarray(predictions.known_targets, bool)
    right = (targets == predicted).all(axis=1)
    counted = np.column_stack([np.ones(len(right)), right, targets, predicted, targets & predicted])
    of_group = pd.DataFrame(counted).groupby(groups).sum().to_numpy()
    drawn = np.random.default_rng(0).multinomial(len(of_group), np.full(len(of_group), 1 / len(of_group)), resamples)
    sums = np.vstack([of_group.sum(axis=0), drawn @ of_group])
    rows, hits = sums[:, 0], sums[:, 1]
    positives, claims, found = np.split(sums[:, 2:], 3, axis=1)
    if predictions.kind.exclusive:
        recalls = np.divide(found, positives, where=positives > 0, out=np.full_like(found, np.nan))
        scores = {"accuracy": hits / rows, "mean class accuracy": np.nanmean(recalls, axis=1)}
    else:
        scores = {"exact match": hits / rows, "macro F1": (2 * found / np.maximum(positives + claims, 1)).mean(axis=1)}
    lines = {name: (own[0], *basic_interval(own[0], own[1:])) for name, own in scores.items()}
    return pd.DataFrame.from_dict(lines, orient="index", columns=["score", "low", "high"])


def votes(predictions: Predictions, groups: np.ndarray) -> pd.DataFrame:
    """Return what the samples of each group say together, if a group has one label: the class of the highest mean logit.

    The frame has a row for each group, and the columns `class`, `rows`, `accuracy` (the share of its rows that are right)
    and `vote`, a class too. Groups of several labels are left out. Multi-label samples do not vote: there are no rows.
    """
    logs = np.log(np.maximum(predictions.probabilities, EPSILON))
    truth, lines = predictions.known_targets.argmax(axis=1), []
    for group in np.unique(groups) if predictions.kind.exclusive else ():
        rows = groups == group
        if len(set(truth[rows].tolist())) == 1:
            right = (logs[rows].argmax(axis=1) == truth[rows]).mean()
            numbers = int(truth[rows][0]), int(logs[rows].mean(axis=0).argmax())
            true, vote = (predictions.classes[number] for number in numbers)
            lines.append((true, int(rows.sum()), float(right), vote))
    return pd.DataFrame(lines, columns=["class", "rows", "accuracy", "vote"])


def selective_accuracy(
    targets: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, shares: Sequence[float] = SHARES
) -> pd.DataFrame:
    """Return the accuracy on the surest samples: a row for each share that is answered, the columns `share` and `accuracy`.

    `targets` and `predicted` are [n, classes] of 0 and 1, `confidence` floats [n]; of equals the first count as surer.
    """
    right = (np.asarray(targets, bool) == np.asarray(predicted, bool)).all(axis=1)[np.argsort(-confidence, kind="stable")]
    counts = [max(round(share * len(right)), 1) for share in shares]
    return pd.DataFrame({"share": shares, "accuracy": [float(right[:count].mean()) for count in counts]})


def confidence(probabilities: np.ndarray, predicted: np.ndarray, thresholds: np.ndarray | None = None) -> np.ndarray:
    """Return how sure predictions are, float [n] in [0, 1].

    That is the probability that a prediction is right. For single-label samples it is the highest probability. For
    multi-label samples it is the product over all classes, as if a probability at the threshold meant even odds: the odds
    of a class are divided by those of its threshold. So only its distance from the threshold counts, in logits, and classes
    with thresholds near 0 or 1 count like any other. Where no class is above its threshold, the predicted one is below it,
    which makes the sample less sure.

    Args:
        probabilities: float array [n, classes].
        predicted: bool array [n, classes].
        thresholds: float array [classes] of multi-label samples; None for single-label ones.
    """
    if thresholds is None:
        return probabilities.max(axis=1)
    logits, cuts = (logit(np.clip(each, EPSILON, 1 - EPSILON, dtype=np.float64)) for each in (probabilities, thresholds))
    return expit(np.where(predicted, logits - cuts, cuts - logits)).prod(axis=1)
