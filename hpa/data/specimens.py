"""Find specimens, or other batches, in data whose ids are numbers that run by batch: change points along the ids.

Images of one batch share background, brightness, sharpness and grain. Two sets of features that have nothing in common
describe each channel: `intensity` (quantiles of all pixels and of the edge) and `texture` (each octave's share of the
contrast, and the grain of dark against bright parts). Both become normal scores by their ranks, and are whitened by the
differences of neighbouring samples, which few batches end between. So the distance of two batches counts deviations between
samples of one batch. Cuts of a given number are those of the least squares, found exactly by dynamic programming (Bellman
1961; Auger and Lawrence, "Algorithms for the optimal identification of segment neighborhoods", 1989).

No batch is known, so four fits that share neither samples nor features choose the number of cuts: a cut is confirmed if it
is found by the intensity of samples with an odd place and, within `TOLERANCE` samples, by the texture of those with an even
place, or the reverse; the number of cuts has the most confirmed ones, of which `CAUTION` are taken off for each unconfirmed
one. A cut must also explain `LEAST_JUMP` times as much as the best one of `SHUFFLES` shuffled orders. A cut that is missed
joins two batches, which stay together in a split; a false one would let a batch leak.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import rankdata

from hpa.data.images import read_sample
from hpa.data.layout import find_files
from hpa.data.parallel import map_in_threads
from hpa.data.tables import concatenate, read_labelled
from hpa.errors import refuse, shown
from hpa.tasks import Task

TOLERANCE = 8  # samples
CAUTION = 3  # confirmed cuts that a false one costs
EDGE = 3  # pixels
OCTAVES = (0.7, 1.4, 2.8, 5.6, 11.2)  # sigmas in pixels
SHUFFLES = 20
LEAST_JUMP = 2
FEATURES = ("intensity", "texture")


@dataclass(frozen=True)
class Specimens:
    """What was found, see `find_specimens`."""

    samples: pd.DataFrame
    cuts: pd.DataFrame
    series: pd.DataFrame


def find_specimens(data: Path, task: Task, smallest: int) -> Specimens:
    """Find the specimens of the labelled samples of `train/` and, if it is there, `validation/`.

    Samples are ordered by their ids over both sets. If every class, or label set, is one stretch of ids, each is a series of
    its own; otherwise there is one series of all samples. A specimen has at least `smallest` samples.

    Returns:
        `samples`, a frame with the columns `Id`, `group` (from 0) and `set`, as `read_groups` reads it; `cuts`, the evidence
        for each cut (see `_evidence`); `series`, a row for each: its `class`, `samples`, `specimens`, and how many cuts were
        `confirmed` on independent samples and features.

    Raises:
        BadInput: naming every id that is not a number, and if a table or an image cannot be used.
    """
    sets = {name: read_labelled(data / name, task) for name in ("train", "validation") if (data / name).is_dir()}
    unsound = [(name, each) for name, own in sets.items() for each in own.ids.tolist() if not each.isdecimal()]
    refuse(data, [f"{name}: id {shown(each)} is not a number, so it says nothing of its batch" for name, each in unsound])
    table = concatenate(sets.values())
    names = np.repeat(list(sets), [len(own) for own in sets.values()])
    files = np.array([each for name, own in sets.items() for each in find_files(data / name, own.ids, task, whole=True)])
    order = np.array(sorted(range(len(table)), key=lambda row: int(table.ids[row])))
    table, names, faults = table.at(order), names[order], list[str]()
    described = list(map_in_threads(lambda own: _described(own, task), files[order].tolist(), "describing", faults))
    refuse(data, faults)
    features = {name: np.array([each[name] for each in described if each]) for name in FEATURES}
    group, cuts, series = np.zeros(len(table), np.int64), [], []
    for start, stop in _series(table.known_targets):
        own = {name: each[start:stop] for name, each in features.items()}
        found, confirmed = find_cuts(own, smallest)
        first = group[start - 1] + 1 if start else 0
        group[start:stop] = first + np.searchsorted(found, np.arange(stop - start), side="right")
        classes = _class(table.known_targets[start:stop], task)
        cuts.append(_evidence(own, found, smallest).assign(**{"class": classes, "Id": table.ids[start + found]}))
        series.append((classes, stop - start, len(found) + 1, confirmed))
    order_of_columns = ["class", "Id", *cuts[0].columns.drop(["class", "Id"])]
    return Specimens(
        pd.DataFrame({"Id": table.ids, "group": group, "set": names}),
        pd.concat(cuts, ignore_index=True)[order_of_columns],
        pd.DataFrame(series, columns=["class", "samples", "specimens", "confirmed"]),
    )


def _series(targets: np.ndarray) -> list[tuple[int, int]]:
    """Return where each series of ordered samples starts and stops, from their targets uint8 [n, classes]."""
    edges = [0, *(np.flatnonzero((targets[1:] != targets[:-1]).any(axis=1)) + 1).tolist(), len(targets)]
    each_class_once = len(edges) - 1 == len(np.unique(targets, axis=0))
    return list(pairwise(edges)) if each_class_once else [(0, len(targets))]


def _class(targets: np.ndarray, task: Task) -> str:
    same = (targets == targets[0]).all()
    return " + ".join(np.array(task.classes)[targets[0] > 0]) if same else "all"


def _described(files: list[Path], task: Task) -> dict[str, list[float]]:
    channels = [describe(channel.astype(np.float32)) for channel in read_sample(files, task).channels]
    return {name: [value for each in channels for value in each[name]] for name in FEATURES}


def describe(channel: np.ndarray) -> dict[str, list[float]]:
    """Describe one channel, float32 [H, W], by its `intensity`, in grey levels, and its `texture`, logarithms of ratios."""
    inner = np.zeros(channel.shape, bool)
    inner[EDGE:-EDGE, EDGE:-EDGE] = True
    intensity = [*np.quantile(channel, [0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98]), *np.quantile(channel[~inner], [0.1, 0.5])]
    blurred = [channel, *(cv2.GaussianBlur(channel, (0, 0), sigma) for sigma in OCTAVES)]
    octaves = [fine - coarse for fine, coarse in pairwise(blurred)]
    dark = blurred[3] <= np.median(blurred[3])
    spread = np.log([*(each.std() + 0.05 for each in octaves), channel.std() + 1])
    grain = np.log([octaves[0][part].std() + 0.05 for part in (dark, ~dark) if part.any()] or [0])
    return {"intensity": intensity, "texture": [*np.diff(spread), grain[0] - grain[-1]]}


def whiten(features: np.ndarray) -> np.ndarray:
    """Return features [n, k] as normal scores whose differences between neighbours are uncorrelated, with a variance of 2.

    Directions in which neighbours hardly differ, as of equal features, are left out: float64 [n, at most k].
    """
    scores = ndtri((np.apply_along_axis(rankdata, 0, features) - 0.5) / len(features))
    steps = np.diff(scores, axis=0)
    variances, axes = np.linalg.eigh(steps.T @ steps / (2 * max(len(steps), 1)))
    kept = variances > 1e-3 * max(variances.max(), 1e-9)
    return scores @ axes[:, kept] / np.sqrt(variances[kept])


def best_cuts(features: np.ndarray, most: int, smallest: int) -> list[np.ndarray]:
    """Cut a series of features [n, k] in 1, 2, ... `most` + 1 parts of at least `smallest` rows, by the least squares.

    Returns for each number of cuts where the parts start, integers [cuts], without the first, as far as there is room.
    """
    rows = len(features)
    most = max(min(most, rows // smallest - 1), 0) if features.shape[1] else 0
    sums = np.pad(np.cumsum(features, axis=0), ((1, 0), (0, 0)))
    squares = np.append(0, np.cumsum((features**2).sum(axis=1)))
    least = np.full((most + 1, rows + 1), np.inf)  # of the first rows, with so many cuts
    start = np.zeros((most + 1, rows + 1), np.int64)  # of their last part
    for stop in range(smallest, rows + 1):
        starts = np.arange(stop - smallest + 1)
        within = squares[stop] - squares[starts] - ((sums[stop] - sums[starts]) ** 2).sum(axis=1) / (stop - starts)
        least[0, stop] = within[0]
        costs = least[:-1, starts] + within
        start[1:, stop] = costs.argmin(axis=1)
        least[1:, stop] = costs.min(axis=1)
    found = []
    for cuts in range(most + 1):
        stops = [rows]
        for left in range(cuts, 0, -1):
            stops.append(int(start[left, stops[-1]]))
        found.append(np.array(stops[:0:-1], np.int64))
    return found


def find_cuts(features: dict[str, np.ndarray], smallest: int) -> tuple[np.ndarray, float]:
    """Return the rows at which the specimens of one series begin, but for the first, and how many of them are confirmed.

    `features` are float arrays [n, k] by the names in `FEATURES`; the module says what is confirmed, and how many there are.
    """
    most = len(features["texture"]) // (3 * smallest)
    one, other = (_halves(features[name], most, smallest) for name in FEATURES)
    fits = zip(one[0], other[1], one[1], other[0], strict=False)  # each with the other's features of the other half
    confirmed = [(matches(a, b) + matches(c, d)) / 2 for a, b, c, d in fits]
    number = int(np.argmax([(1 + CAUTION) * sure - CAUTION * cuts for cuts, sure in enumerate(confirmed)]))
    joined = _joined(features)
    cuts = best_cuts(joined, number, smallest)[number]
    return cuts[_jumps(joined, cuts, smallest) > LEAST_JUMP], confirmed[number]


def _joined(features: dict[str, np.ndarray]) -> np.ndarray:
    return whiten(np.concatenate([features[name] for name in FEATURES], axis=1))


def _halves(features: np.ndarray, most: int, smallest: int) -> list[list[np.ndarray]]:
    """Return the `best_cuts` of the even and of the odd rows, as rows of the whole series."""
    return [
        [2 * cuts + half for cuts in best_cuts(whiten(features[half::2]), most, max(smallest // 2, 1))] for half in (0, 1)
    ]


def matches(one: np.ndarray, other: np.ndarray) -> int:
    """Count the cuts of `one` that have a cut of `other` within `TOLERANCE`, each cut once; both are sorted."""
    count = place = 0
    for cut in other.tolist():
        while place < len(one) and one[place] < cut - TOLERANCE:
            place += 1
        if place < len(one) and one[place] <= cut + TOLERANCE:
            count, place = count + 1, place + 1
    return count


def _evidence(features: dict[str, np.ndarray], cuts: np.ndarray, smallest: int) -> pd.DataFrame:
    """Return a row for each cut of a series.

    Columns: `before` and `after`, how many samples its two specimens have; `distance`, between their means in deviations
    between samples of one specimen, less what chance adds; `jump`, see `_jumps`; `even`, `odd`, `intensity` and `texture`,
    how many samples away the nearest cut is if as many are found by these samples or features alone.
    """
    joined, number = _joined(features), len(cuts)
    even, odd = (fits[number] for fits in _halves(joined, number, smallest))
    alone = {name: best_cuts(whiten(features[name]), number, smallest)[number] for name in FEATURES}
    away = {name: [np.abs(fit - cut).min() for cut in cuts] for name, fit in ({"even": even, "odd": odd} | alone).items()}
    parts = np.split(joined, cuts)
    sizes = np.array([len(part) for part in parts])
    steps = np.diff([part.mean(axis=0) for part in parts], axis=0)
    distances = (steps**2).sum(axis=1) - joined.shape[1] * (1 / sizes[1:] + 1 / sizes[:-1])
    return pd.DataFrame(
        {
            "before": sizes[:-1],
            "after": sizes[1:],
            "distance": np.sqrt(distances.clip(0)),
            "jump": _jumps(joined, cuts, smallest),
        }
        | away
    )


def _jumps(joined: np.ndarray, cuts: np.ndarray, smallest: int) -> np.ndarray:
    """Return how many times as much each cut explains as the best one of the same two specimens in a shuffled order.

    That is the best of `SHUFFLES` orders.
    """
    generator, edges, found = np.random.default_rng(0), [0, *cuts.tolist(), len(joined)], []
    for start, cut, stop in zip(edges, edges[1:], edges[2:], strict=False):
        own = joined[start:stop]
        shuffled = [_explained(generator.permutation(own), smallest).max() for _ in range(SHUFFLES)]
        found.append(_explained(own, smallest)[cut - start - smallest] / max(shuffled))
    return np.array(found)


def _explained(features: np.ndarray, smallest: int) -> np.ndarray:
    """Return the sum of squares that each cut of a series in two, of at least `smallest` rows each, explains."""
    before = np.arange(1, len(features))[:, np.newaxis]
    centred = np.cumsum(features - features.mean(axis=0), axis=0)[:-1]
    gains = (centred**2 * len(features) / (before * (len(features) - before))).sum(axis=1)
    return gains[smallest - 1 : len(features) - smallest]
