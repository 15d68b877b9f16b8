"""A support vector machine (SVM) that replaces a network's dense head, written as layers of a Keras model.

The decision values of a linear SVM are linear in the features. So are the standardisation before it and the calibration
after it: all three become one kernel and bias. With radial basis functions this holds for the similarities of the features
to the support vectors.

The validation rows choose the regularisation, as they choose a network's best epoch. Cross-validation on the training rows
would choose too strong a one: the network has learned from these very rows, so their features are too good.

The calibration is scikit-learn's: one temperature for single-label data, a sigmoid for each class for multi-label data.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import layers
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from tqdm import tqdm

from hpa.data.groups import read_groups
from hpa.data.partition import Partition, pack_sets, split_digest, write_partition
from hpa.data.stratify import stratified_folds
from hpa.data.tables import has_test_set, read_ids
from hpa.errors import BadInput, refuse
from hpa.files import cores, file_digest, locked, write_json
from hpa.inference.embeddings import feature_extractor, read_features
from hpa.inference.predict import BATCH, common_task, predict_rows
from hpa.labels import LABELS
from hpa.models.catalog import load, save
from hpa.models.radial_basis import similarities
from hpa.registry import DENSE_PART, NETWORKS
from hpa.runs.folder import (
    describe_best,
    is_finished,
    model_shape,
    opened_run,
    read_settings,
    read_task_of,
    require_finished,
    require_own_name,
    require_same_run,
    require_table,
    run_config,
    write_history,
)
from hpa.runs.split import read_partition
from hpa.scoring.folds import join_folds
from hpa.scoring.predictions import Predictions, read_predictions, write_predictions
from hpa.settings import Settings
from hpa.stages import SVM_KERNELS, fold_name
from hpa.tta import NO_TTA

logger = logging.getLogger(__name__)

FOLDS = 5
# scikit-learn's C for each kernel: the smaller, the stronger the regularisation.
REGULARISATIONS = {"linear": (1e-4, 1e-3, 1e-2, 1e-1, 1.0), "rbf": (1.0, 10.0, 100.0)}
# Neither solver uses random numbers. LinearSVC solves the primal problem with liblinear's own tolerance for it: if C is
# large, a finer one takes hundreds of steps to the same decisions. SVC caches 500 MB of kernel values, enough for some
# thousand rows.
CLASSIFIERS: dict[str, Callable[[float], Any]] = {
    "linear": lambda regularisation: LinearSVC(C=regularisation, dual=False, tol=0.01),
    "rbf": lambda regularisation: SVC(C=regularisation, gamma="auto", cache_size=500),
}


Pair = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Head:
    """A calibrated SVM for features as the network gives them.

    Attributes:
        scaler: the standardisation of the features.
        classifiers: the fitted LinearSVC or SVC of each class.
        scale, offset: float64 arrays [classes] that turn decision values into logits.
        regularisation: the C that was chosen.
        loss: the cross-validated log loss on the training rows.
    """

    scaler: StandardScaler
    classifiers: list[Any]
    scale: np.ndarray
    offset: np.ndarray
    regularisation: float = 0.0
    loss: float = 0.0

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return float64 [n, classes] from features [n, features]."""

        def decide(batch: np.ndarray) -> np.ndarray:
            scaled = self.scaler.transform(batch)
            return np.stack([each.decision_function(scaled) for each in self.classifiers], axis=1)

        batches = np.array_split(features.astype(np.float64), range(BATCH, len(features), BATCH))
        with ThreadPoolExecutor(cores()) as pool:  # libsvm itself takes one core
            return np.concatenate(list(pool.map(decide, batches))) * self.scale + self.offset


def replace_head(source: Path, data: Path, runs: Path, kernel: str) -> Path:
    """Make the run `<runs>/<name>-svm-<kernel>/base` from a finished run, unless it is finished, and return its folder.

    The network in the run folder `source` gives the features and the settings. Other settings of the head are one epoch, no
    augmentation, and the log loss, which the calibration minimises. The kernel is `"linear"` or `"rbf"` (radial basis
    functions).

    Raises:
        BadInput: if there is no such kernel, the source is not finished or was trained on another table, a class has too few
            training rows, or the run folder holds another run.
    """
    if kernel not in SVM_KERNELS:
        raise BadInput(f"kernel {kernel}: expected one of {', '.join(SVM_KERNELS)}", setting="kernel")
    folder = runs / fold_name(source.parent.name, 0, kernel) / "base"
    own, task = read_settings(source), read_task_of(source)
    require_own_name(source)
    plain: dict[str, Any] = {"label_smoothing": 0.0, "progressive_resizing": 0.0}
    plain |= {"augmentation": "none", "mixing": "none", "augment_on": "host"}
    settings = replace(own, stage="base", part="dense", epochs=1, loss=task.kind.loss, **plain)
    require_finished(source)
    partition = read_partition(source, own, task, data)
    require_table(source, partition.table)
    features_layer = NETWORKS[own.model].feature_layer
    config = run_config(settings, task, partition.table, source / "model.keras")
    made = {"source": f"{source.parent.name}/{source.name}", "features": features_layer, "kernel": kernel, "folds": FOLDS}
    config["svm"] = made | {"regularisations": list(REGULARISATIONS[kernel])}
    config["split_sha256"] = split_digest(settings, partition)
    require_same_run(folder, config)
    if is_finished(folder) and (folder / "split.csv").exists():
        read_partition(folder, settings, task, data)
        require_finished(folder, predicted=True)
        logger.info("%s is finished already: %s", folder, describe_best(folder))
        return folder
    both = partition.training, partition.validation
    training, validation = (partition.table.at(rows) for rows in both)
    targets = training.known_targets, validation.known_targets
    fold_of_row = calibration_folds(partition, settings)
    refuse(data, _class_faults(targets[0], fold_of_row, task.classes))
    network = load(source / "model.keras", shape=model_shape(settings, task))
    extractor = feature_extractor(network, own.model, source / "model.keras")
    images = pack_sets(partition, data, runs, task, settings.size, settings.intensity_range)
    with locked(folder / ".lock", wait=False), opened_run(folder, config, data):
        write_partition(folder / "split.csv", settings, partition)
        features = [predict_rows(extractor, images, rows, "features") for rows in both]
        held_out, weights = (features[1], targets[1]), _weights(partition, settings)
        head = fit_head(features[0], targets[0], task.labels, fold_of_row, kernel, held_out, weights)
        save(with_head(extractor, head, task.labels, f"{network.name}_svm"), folder / "model.keras")
        logits = [head.logits(each) for each in features]
        probabilities = [task.kind.from_logits(each) for each in logits]
        predictions = Predictions(validation.ids, task.classes, probabilities[1], targets[1], task.labels)
        digest = file_digest(folder / "model.keras")
        write_predictions(folder / "validation.npz", replace(predictions, model_sha256=digest))
        losses = [task.kind.log_loss(*each) for each in zip(logits, targets, strict=True)]
        scores = [task.kind.monitor.scores(*each) for each in zip(targets, probabilities, strict=True)]
        score = task.kind.monitor.training
        row = {"epoch": 1, "regularisation": head.regularisation, "cross_validated_loss": head.loss, "loss": losses[0]}
        row |= {score: scores[0][f"validation_{score}"], "validation_loss": losses[1], **scores[1]}
        write_history(folder, pd.DataFrame([row]))  # last: its row says that the run is finished
    logger.info("%s has: %s", source, describe_best(source))
    logger.info("%s is done: %s", folder, describe_best(folder))
    return folder


def features_member(sources: Sequence[Path], data: Path, file: Path, kernel: str, out: Path) -> str:
    """Write a member of an ensemble from anybody's features: `validation.npz`, `test.npz` and, in words, `features.json`.

    An SVM learns from the features of a run's training rows and predicts its validation rows and the test set. Of several
    folds of a run each has an SVM: together they predict all validation rows, and their mean the test set. The member counts
    as of the run's test-time augmentation, so that both can be blended.

    Args:
        sources: run folders, all folds of a run, which say what the rows are.
        data: the folder of the data.
        file: the features by id, see `read_features`.
        kernel: `"linear"` or `"rbf"`.
        out: the folder to write to.

    Returns:
        What was written, in words.

    Raises:
        BadInput: naming every id without features; if a class has too few training rows, a run was trained on another table,
            or a run lies in `out`.
    """
    if (out / "config.json").exists():
        raise BadInput(f"out {out}: holds a run; name another folder", setting="out")
    task = common_task(sources)
    if len(join_folds(sources)) > 1 or len(set(sources)) < len(sources):
        raise BadInput(f"run: names {len(sources)} folders that are not the folds of one run; name one run", setting="run")
    partitions = [read_partition(source, read_settings(source), task, data) for source in sources]
    for source, partition in zip(sources, partitions, strict=True):
        require_table(source, partition.table)
    known, features = read_features(file)
    row_of, test = pd.Index(known), read_ids(data, task) if has_test_set(data) else np.empty(0, str)
    labelled = np.concatenate([each.table.ids[np.concatenate([each.training, each.validation])] for each in partitions])
    absent = {"labelled": np.setdiff1d(labelled, known), "test": np.setdiff1d(test, known)}
    refuse(file, [f"id {each}: no features of this {name} sample" for name, ids in absent.items() for each in ids])
    heads, rows, validated, tested = [], [], [], []
    for source, partition in zip(sources, partitions, strict=True):
        training, validation = (partition.table.at(each) for each in (partition.training, partition.validation))
        learned, held_out, tests = (features[row_of.get_indexer(each)] for each in (training.ids, validation.ids, test))
        settings, targets = read_settings(source), training.known_targets
        fold_of_row = calibration_folds(partition, settings)
        refuse(data, _class_faults(targets, fold_of_row, task.classes))
        validating, weights = (held_out, validation.known_targets), _weights(partition, settings)
        head = fit_head(learned, targets, task.labels, fold_of_row, kernel, validating, weights)
        heads.append(head)
        rows.append(partition.validation)
        validated.append(task.kind.from_logits(head.logits(held_out)))
        tested += [task.kind.from_logits(head.logits(tests))] if len(test) else []
    samples, probabilities = partitions[0].table.at(np.concatenate(rows)), np.concatenate(validated)
    own = sources[0] / "validation.npz"
    named: dict[str, Any] = {"labels": task.labels, "tta": read_predictions(own).tta if own.exists() else NO_TTA}
    if tested:
        write_predictions(out / "test.npz", Predictions(test, task.classes, np.mean(tested, axis=0), **named))
    found = Predictions(samples.ids, task.classes, probabilities, samples.known_targets, **named)
    write_predictions(out / "validation.npz", found)
    monitor = task.kind.monitor
    scores = monitor.scores(samples.known_targets, probabilities)
    about = {"features": str(file), "features_sha256": file_digest(file), "runs": list(map(str, sources)), "kernel": kernel}
    write_json(out / "features.json", about | {"regularisations": [head.regularisation for head in heads]} | scores)
    count = f"{len(samples.ids)} validation and {len(test)} test rows"
    return f"{out}: {features.shape[1]} features, {count}, validation {monitor.name} {scores[monitor.best]:.4f}"


def with_head(extractor: keras.Model, head: Head, labels: str, name: str) -> keras.Model:
    """Return the network of the features [B, features] with a head on them."""
    scaler, classifiers, x = head.scaler, head.classifiers, extractor.output
    bias = np.array([each.intercept_[0] for each in classifiers])
    if isinstance(classifiers[0], LinearSVC):
        kernel = np.stack([each.coef_[0] for each in classifiers], axis=1) / scaler.scale_[:, None]
        bias -= scaler.mean_ @ kernel
    else:
        supports = np.unique(np.concatenate([each.support_ for each in classifiers]))  # the rows that any class needs
        kernel = np.zeros((len(supports), len(classifiers)))
        centers = np.empty((len(supports), scaler.n_features_in_))
        for number, each in enumerate(classifiers):
            own = np.searchsorted(supports, each.support_)
            kernel[own, number], centers[own] = each.dual_coef_[0], each.support_vectors_
        width = scaler.n_features_in_**-0.5  # the root of gamma="auto", for similarities with a gamma of 1
        x = similarities(x, scaler.mean_, width / scaler.scale_, width * centers, f"{DENSE_PART}similarities")
    dense = layers.Dense(len(bias), name=f"{DENSE_PART}svm")
    x = dense(x)
    dense.set_weights([kernel * head.scale, bias * head.scale + head.offset])
    x = layers.Activation(LABELS[labels].activation, dtype="float32", name=f"{DENSE_PART}probabilities")(x)
    return keras.Model(extractor.input, x, name=name)


def fit_head(
    features: np.ndarray,
    targets: np.ndarray,
    labels: str,
    fold_of_row: np.ndarray,
    kernel: str,
    validation: Pair,
    weights: np.ndarray | None = None,
) -> Head:
    """Fit an SVM for each class against the rest, with the C of the least log loss on the validation rows.

    Args:
        features: array [n, features] in the precision of the network: float32, float16 or bfloat16.
        targets: uint8 array [n, classes] of 0 and 1; outside each fold every class has rows with it and rows without it.
        labels: a key of `LABELS`.
        fold_of_row: int array [n], the folds of the cross-validation that the calibration learns from.
        kernel: `"linear"` or `"rbf"`.
        validation: features and targets of the validation rows.
        weights: float array [n], how much each row counts in the SVMs, see `_weights`; None for all alike. The calibration
            takes all rows alike.
    """
    # Features that differ by rounding alone become constant: standardisation would magnify them for the SVM to learn.
    highest = np.abs(features).max(axis=0)
    rounding = np.maximum(np.spacing(highest).astype(np.float64), 1e-5 * highest.astype(np.float64))
    features = features.astype(np.float64)
    features = np.where(features.std(axis=0) > rounding, features, features.mean(axis=0))
    kind, heads = LABELS[labels], []
    for regularisation in tqdm(REGULARISATIONS[kernel], desc="fitting the SVM", disable=None):
        decisions = np.empty(targets.shape)  # of rows that the SVM has not learned from
        for fold in np.unique(fold_of_row):
            own = fold_of_row == fold
            weight = None if weights is None else weights[~own]
            decisions[own] = _fit(features[~own], targets[~own], kernel, regularisation, weight).logits(features[own])
        scale, offset = kind.calibrate(decisions, targets)
        loss = kind.log_loss(decisions * scale + offset, targets)
        svm = _fit(features, targets, kernel, regularisation, weights)
        heads.append(replace(svm, scale=scale, offset=offset, regularisation=regularisation, loss=loss))
    return min(heads, key=lambda head: kind.log_loss(head.logits(validation[0]), validation[1]))


def calibration_folds(partition: Partition, settings: Settings) -> np.ndarray:
    """Return the fold of each training row of a run in the cross-validation of its SVM head, int64 [n]."""
    # A table of groups names those of all rows of the run; the training rows may have none of them.
    groups = read_groups(settings.groups, partition.table.ids)
    own = None if groups is None else groups[partition.training]
    targets = partition.table.known_targets[partition.training]
    return stratified_folds(targets, FOLDS, settings.split_seed, own)


def _weights(partition: Partition, settings: Settings) -> np.ndarray | None:
    """Return how much each training row counts, float32 [n], see `Partition.weights`."""
    weights = partition.weights(settings.external_weight)
    return None if weights is None else weights[partition.training]


def _fit(features: np.ndarray, targets: np.ndarray, kernel: str, regularisation: float, weights: np.ndarray | None) -> Head:
    """Return an SVM that is not calibrated."""
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    # Not OneVsRestClassifier: in threads its `Parallel` damages the process's list of warning filters.
    with ThreadPoolExecutor(cores()) as pool:
        classifiers = list(pool.map(lambda own: CLASSIFIERS[kernel](regularisation).fit(scaled, own, weights), targets.T))
    return Head(scaler, classifiers, np.ones(len(classifiers)), np.zeros(len(classifiers)))


class _Given(ClassifierMixin, BaseEstimator):
    """A classifier whose features are decision values; scikit-learn calibrates these."""

    def fit(self, decisions: np.ndarray, classes: np.ndarray) -> "_Given":
        self.classes_ = np.unique(classes)
        return self

    def decision_function(self, decisions: np.ndarray) -> np.ndarray:
        return decisions.squeeze(axis=1) if decisions.shape[1] == 1 else decisions

    predict = decision_function  # scikit-learn requires one


def _calibrator(decisions: np.ndarray, classes: np.ndarray, method: str) -> Any:
    """Return what scikit-learn fits to decision values [n, 1 or classes] and the numbers of the true classes [n]."""
    everything = np.arange(len(classes))
    calibrated = CalibratedClassifierCV(_Given(), method=method, cv=[(everything, everything)], ensemble=False)
    return calibrated.fit(decisions, classes).calibrated_classifiers_[0].calibrators[0]


def scale_temperature(decisions: np.ndarray, targets: np.ndarray) -> Pair:
    """Return the scale and the offset of each class, float64 [classes], that turn decision values into logits of a softmax.

    All classes share one scale and have no offset, so the highest decision value stays the highest (temperature scaling: Guo
    et al., "On Calibration of Modern Neural Networks", ICML 2017). Decision values and targets, of rows that the SVM has not
    learned from, are [n, classes].
    """
    classes = targets.shape[1]
    values = decisions if classes > 2 else np.diff(decisions) / 2  # scikit-learn takes one value x for (-x, x)
    return np.full(classes, _calibrator(values, targets.argmax(axis=1), "temperature").beta_), np.zeros(classes)


def fit_sigmoids(decisions: np.ndarray, targets: np.ndarray) -> Pair:
    """Return what `scale_temperature` does, for a sigmoid of each class (Platt, "Probabilistic Outputs for SVMs", 1999)."""
    fitted = [_calibrator(own[:, None], truth, "sigmoid") for own, truth in zip(decisions.T, targets.T, strict=True)]
    return np.array([-each.a_ for each in fitted]), np.array([-each.b_ for each in fitted])


def single_label_log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean crossentropy of the rows of logits and targets, both [n, classes]."""
    return float(np.mean(logsumexp(logits, axis=1) - (targets * logits).sum(axis=1)))


def multi_label_log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean crossentropy of the single decisions of logits and targets, both [n, classes]."""
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))


def _class_faults(targets: np.ndarray, fold_of_row: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    shares = np.stack([targets[fold_of_row != fold].mean(axis=0) for fold in range(FOLDS)])
    return [
        f"class {name}: {count} of the {len(targets)} rows to learn from have it; with each of {FOLDS} folds left out there "
        "must be rows with it and rows without it"
        for name, count, share in zip(classes, targets.sum(axis=0), shares.T, strict=True)
        if share.min() == 0 or share.max() == 1
    ]
