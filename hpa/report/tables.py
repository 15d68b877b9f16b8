"""The tables of the report page, from probabilities and run folders: runs, classes, mix-ups, doubtful labels, ensembles."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hpa.files import read_json
from hpa.labels import Labels
from hpa.runs.entry import members_of_entry
from hpa.runs.folder import TIMES, is_finished, read_history, read_settings
from hpa.scoring.comparison import basic_interval, compare_thresholds, sweep_shifts
from hpa.scoring.evaluation import Evaluation, class_table
from hpa.scoring.folds import join_folds
from hpa.scoring.members import Members
from hpa.scoring.predictions import Predictions, read_predictions
from hpa.scoring.saved_thresholds import saved_choice
from hpa.scoring.thresholds import Rule, find_thresholds
from hpa.scoring.weights import blend, is_above
from hpa.settings import NAMES

BINS = 10  # of the reliability diagram
RESAMPLES = 1000
SHIFTS = 9
MOST_LABELS = 200  # of the list of doubtful labels


def leaderboard(folders: Sequence[Path], seed: int = 0) -> list[dict[str, Any]]:
    """Return what is known of each run folder, or other member of an ensemble, the best first.

    The score is that of `held_out_score`, the time that of all epochs with their validation, and the rate that of the median
    epoch. `settings` are those that differ between the folders.
    """
    configs = [read_json(each / "config.json") if (each / "config.json").exists() else {} for each in folders]
    differing = [
        name
        for name in NAMES
        if name not in ("model", "fold", "stage") and len({repr(config[name]) for config in configs if name in config}) > 1
    ]
    rows = []
    for folder, config in zip(folders, configs, strict=True):
        history = read_history(folder) if config else None
        row: dict[str, Any] = {
            "name": str(folder),
            "network": config.get("model"),
            "fold": config.get("fold"),
            "stage": config.get("stage", folder.name) if config else None,
            "parameters": count_parameters(folder / "model.keras"),
            "epochs": None if history is None else len(history),
            **dict.fromkeys(TIMES),
            "finished": is_finished(folder) if config else True,
            "settings": ", ".join(f"{name} {config[name]}" for name in differing if name in config),
            "curves": {} if history is None else {name: column.tolist() for name, column in history.items()},
        }
        if history is not None and set(TIMES) <= set(history):
            row |= {"seconds": float(history[TIMES[0]].sum()), "images_per_second": float(history[TIMES[1]].median())}
        if (folder / "validation.npz").exists():
            own = read_predictions(folder / "validation.npz")
            if own.targets is not None and len(own.ids) > 1:
                row |= held_out_score(own, own.kind.rule or saved_choice([folder], own.classes)[0], seed)
        rows.append(row)
    return sorted(rows, key=lambda row: -row.get("score", -1))


def held_out_score(own: Predictions, rule: Rule, seed: int) -> dict[str, Any]:
    """Return the main score of a run, its interval of 95 %, and what it is where thresholds were found on the same rows.

    For multi-label samples that is the macro F1 of `compare_thresholds`, cross-validated; for single-label samples the
    accuracy, with the basic bootstrap interval.
    """
    targets = own.known_targets
    if not own.kind.exclusive:
        row = compare_thresholds(targets, own.probabilities, {"rule": rule}, "rule", seed).iloc[0]
        return {"score": row["cross_validated"], "low": row["low"], "high": row["high"], "same_rows": row["resubstituted"]}
    score = main_score(own.kind, targets, own.probabilities, rule)
    # Resampled rows are right as often as a binomial says.
    resampled = np.random.default_rng(seed).binomial(len(targets), score, RESAMPLES) / len(targets)
    low, high = basic_interval(score, resampled)
    return {"score": score, "low": low, "high": high, "same_rows": score}


def main_score(kind: Labels, targets: np.ndarray, probabilities: np.ndarray, rule: Rule) -> float:
    """Return the first score of a kind of labels, macro F1 or accuracy; a rule finds thresholds on the same rows."""
    predicted, _ = kind.decide(probabilities, find_thresholds(rule, targets, probabilities))
    return float(next(iter(kind.scores.values()))(targets, predicted))


def folds(folders: Sequence[Path], ids: np.ndarray) -> list[int]:
    """Return the fold that each row is held out in, by the members of several folds; nothing if there is one fold."""
    own = max(join_folds(folders).values(), key=len)
    if len(own) < 2:
        return []
    held_out = {read_settings(folder).fold: read_predictions(folder / "validation.npz").ids.tolist() for folder in own}
    fold_of = {identifier: fold for fold, rows in held_out.items() for identifier in rows}
    return [fold_of[identifier] for identifier in ids.tolist()]


def count_parameters(model: Path) -> int | None:
    """Return how many weights a model's file holds, without Keras; None if there is no such file, or it is another kind."""
    try:
        with zipfile.ZipFile(model) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights:
            sizes: list[int] = []
            weights["layers"].visititems(
                lambda name, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) and "seed" not in name else None
            )
            return sum(sizes)
    except (OSError, KeyError, zipfile.BadZipFile):
        return None


def classes(found: Evaluation, seed: int = 0) -> list[dict[str, Any]]:
    """Return for each class its scores, the interval of its F1, threshold, expected calibration error and reliability.

    The interval is the basic bootstrap interval: rows of a resample fall into hits, misses, false alarms and the rest as a
    multinomial says. It knows nothing of how the thresholds were found.
    """
    targets, predicted = found.predictions.known_targets.astype(bool), found.predicted
    generator, rows = np.random.default_rng(seed), []
    for number, row in enumerate(class_table(found).to_dict("records")):
        own, claimed = targets[:, number], predicted[:, number]
        counts = np.array([np.count_nonzero(own & claimed), np.count_nonzero(own != claimed)])
        shares = np.array([*counts, len(own) - counts.sum()]) / len(own)
        hits, wrong, _ = generator.multinomial(len(own), shares, RESAMPLES).T
        low, high = basic_interval(row["f1"], 2 * hits / np.maximum(2 * hits + wrong, 1))
        bins = reliability(own, found.predictions.probabilities[:, number])
        error = float((np.abs(bins[0] - bins[1]) * bins[2]).sum() / len(own))
        known = {name: None if isinstance(value, float) and np.isnan(value) else value for name, value in row.items()}
        interval = {"low": low, "high": high} if counts.any() else {"low": None, "high": None}
        threshold = None if found.predictions.kind.exclusive else float(found.thresholds[number])
        rows.append(known | interval | {"threshold": threshold, "ece": error, "reliability": bins.T.tolist()})
    return rows


def reliability(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return for each tenth of the range of probabilities that has rows: their mean, the share of positives, the count.

    Args:
        targets: bool or 0 and 1, [n].
        probabilities: float [n].

    Returns:
        float64 array [3, bins].
    """
    place = np.minimum((np.asarray(probabilities, np.float64) * BINS).astype(int), BINS - 1)
    count, mean, share = (np.bincount(place, weights, BINS) for weights in (None, probabilities, targets))
    full = count > 0
    return np.stack([mean[full] / count[full], share[full] / count[full], count[full]])


def mix_ups(found: Evaluation) -> list[list[int]]:
    """Return how often each class (first axis) was missed where each other one (second axis) was added, [classes, classes].

    The diagonal has the rows where the class is found. For single-label samples this is the confusion matrix.
    """
    targets, predicted = found.predictions.known_targets.astype(bool), found.predicted
    table = (targets & ~predicted).T.astype(np.int64) @ (predicted & ~targets)
    np.fill_diagonal(table, np.count_nonzero(targets & predicted, axis=0))
    return [[int(count) for count in row] for row in table]


def doubtful_labels(own: Predictions) -> tuple[list[dict[str, Any]], float]:
    """Return the labels that the probabilities speak against, the most doubtful first, and the expected share of wrong.

    This is confident learning (Northcutt, Jiang and Chuang, "Confident Learning", JAIR 2021), as cleanlab does it: for
    single-label samples over all classes, else for each class by itself, present or absent. The order is by the normalised
    margin, the probability of the given label minus that of the likelier one. Each label names its row, its class, and
    whether this class is given there. The share is of the samples, or of all labels of all samples.
    """
    targets, probabilities = own.known_targets.astype(int), own.probabilities.astype(np.float64)
    labels: list[dict[str, Any]] = []
    if own.kind.exclusive:
        given = targets.argmax(axis=1)
        guess, share = confident(given, probabilities)
        wrong = [(row, given[row], guess[row]) for row in np.flatnonzero(guess != given)]
        for row, label, better in wrong:
            margin = probabilities[row, label] - probabilities[row, better]
            labels.append({"row": int(row), "class": int(label), "given": True, "better": int(better), "margin": margin})
    else:
        shares = []
        for number, (given, chance) in enumerate(zip(targets.T, probabilities.T, strict=True)):
            guess, share = confident(given, np.stack([1 - chance, chance], axis=1))
            shares.append(share)
            for row in np.flatnonzero(guess != given):
                margin = (2 * chance[row] - 1) * (1 if given[row] else -1)
                labels.append({"row": int(row), "class": number, "given": bool(given[row]), "margin": float(margin)})
        share = float(np.mean(shares))
    return sorted(labels, key=lambda label: label["margin"])[:MOST_LABELS], share


def confident(given: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, float]:
    """Return each row's confident label, int [n], else the given one; and the share of given ones expected to be wrong.

    A label is confident if its probability is at least the mean that it has where it is given; of several the most
    probable one counts. The share is that of the confident joint off its diagonal, scaled to the counts of given labels.

    Args:
        given: int array [n], column numbers of `probabilities`.
        probabilities: float array [n, labels].
    """
    count = probabilities.shape[1]
    limits = [probabilities[given == label, label].mean() if (given == label).any() else np.inf for label in range(count)]
    sure = probabilities >= np.array(limits)
    guess = np.where(sure.any(axis=1), np.where(sure, probabilities, -1).argmax(axis=1), given)
    joint = np.zeros((count, count))
    np.add.at(joint, (given[sure.any(axis=1)], guess[sure.any(axis=1)]), 1)
    joint *= (np.bincount(given, minlength=count) / np.maximum(joint.sum(axis=1), 1))[:, None]
    return guess, float(1 - np.trace(joint) / max(joint.sum(), 1))


def ensemble(members: Members, weights: np.ndarray, rule: Rule, shift: float | None, seed: int = 0) -> dict[str, Any]:
    """Return what each member of a blend has and adds, the correlation of their errors, and the scores by shift.

    Scores are those of `main_score`, with thresholds found on the same rows, for every member and blend alike. An error is
    a probability minus the truth. Shifts, for multi-label samples, lie between those that keep all members and the best.
    """
    rule, targets, own = members.kind.rule or rule, members.targets, members.validation

    def score(chosen: np.ndarray) -> float:
        return main_score(members.kind, targets, blend(own, chosen / chosen.sum()), rule)

    alone, whole = [score(each) for each in np.eye(len(own))], score(weights)
    rows: list[Mapping[str, Any]] = []
    for number, name in enumerate(members.names):
        left = np.where(np.arange(len(own)) == number, 0, weights)
        adds = whole - score(left) if left.any() else None
        rows.append({"name": name, "weight": float(weights[number]), "score": alone[number], "adds": adds})
    errors = np.corrcoef([(each - targets).ravel() for each in own]) if len(own) > 1 else np.ones((1, 1))
    found: dict[str, Any] = {"score": whole, "members": rows, "correlation": np.round(errors, 4).tolist(), "shift": shift}
    if not members.kind.exclusive and len(own) > 1 and len(targets) > 1:
        shifts = np.linspace(max(min(alone) - 0.1, 0), max(alone), SHIFTS, endpoint=False).round(4)
        table = sweep_shifts(members, [each for each in shifts.tolist() if is_above(each, np.array(alone))], rule, seed)
        found["sweep"] = table.reset_index()[["shift", "cross_validated", "low", "high"]].to_numpy().tolist()
    return found


def folders_of_ensemble(file: Path) -> tuple[list[Path], np.ndarray, dict[str, Any]]:
    """Return the folders of the members that the JSON next to a submission names, each one's weight, and all it says.

    The folds of a run share its weight.
    """
    about = read_json(file)
    members = members_of_entry(file, about)
    weights = [weight for _, weight in members]
    return [folder for folders, _ in members for folder in folders], np.array(weights) / sum(weights), about
