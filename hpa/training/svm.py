"""A support vector machine (SVM) that replaces a network's dense head, written as layers of a Keras model.

The decision values of a linear SVM are linear in the features. So are the standardisation before it and the calibration
after it: all three become one kernel and bias. With radial basis functions this holds for the similarities of the features
to the support vectors.

The validation rows choose the regularisation, as they choose a network's best epoch. Cross-validation on the training rows
would choose too strong a one: the network has learned from these very rows, so their features are too good.

The calibration is our own. scikit-learn's `CalibratedClassifierCV` fits the same sigmoids for multi-label data, but does not
return the held-out decision values, and history.csv holds their log loss: every cross-validation would run twice. For
single-label data its "temperature" fits hard targets. For 60 rows of 3 classes that are told apart without a mistake its
scale is 46, with probabilities of 1e-40; ours is 1.5. If there are mistakes, hard targets are better on new rows: with
scikit-learn's digits the log loss is 0.14 instead of 0.44 after 300 training rows, 0.07 instead of 0.18 after 1,000. Ours is
kept because the scores of SVM heads stay as they were.
"""

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from joblib import parallel_config
from keras import layers
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from tqdm import tqdm

from hpa.data.partition import pack_sets, split_digest, write_partition
from hpa.data.splits import make_folds
from hpa.errors import BadInput, refuse
from hpa.files import cores, file_digest, locked
from hpa.inference.embeddings import feature_extractor
from hpa.inference.predict import BATCH, predict_rows
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
    require_model,
    require_own_name,
    require_same_run,
    require_table,
    run_config,
    write_history,
)
from hpa.runs.monitor import validation_scores
from hpa.runs.split import read_partition
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.settings import SVM_KERNELS, fold_name
from hpa.training.plan import require_finished

logger = logging.getLogger(__name__)

FOLDS = 5
# scikit-learn's C for each kernel: the smaller, the stronger the regularisation.
REGULARISATIONS = {"linear": (1e-4, 1e-3, 1e-2, 1e-1, 1.0), "rbf": (1.0, 10.0, 100.0)}
# Neither solver uses random numbers. LinearSVC solves the primal problem, with liblinear's own tolerance for it: a finer one
# takes hundreds of steps to the same decisions if C is large. SVC caches 500 MB of kernel values: its default of 200 is
# little for some thousand rows.
CLASSIFIERS: dict[str, Callable[[float], Any]] = {
    "linear": lambda regularisation: LinearSVC(C=regularisation, dual=False, tol=0.01),
    "rbf": lambda regularisation: SVC(C=regularisation, gamma="auto", cache_size=500),
}


@dataclass(frozen=True)
class Head:
    """A calibrated SVM for features as the network gives them.

    Attributes:
        svm: the standardisation and the fitted classifiers, one for each class.
        scale, offset: float64 arrays [classes] that turn decision values into logits, see `calibrate`.
        regularisation: the C that was chosen.
        loss: the cross-validated log loss on the training rows, see `calibrate`.
    """

    svm: Pipeline
    scale: np.ndarray
    offset: np.ndarray
    regularisation: float
    loss: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return float64 [n, classes] from features [n, features]."""
        batches = np.array_split(features.astype(np.float64), range(BATCH, len(features), BATCH))
        with ThreadPoolExecutor(cores()) as pool:  # libsvm itself takes one core
            return np.concatenate(list(pool.map(self.svm.decision_function, batches))) * self.scale + self.offset


def replace_head(source: Path, data: Path, runs: Path, kernel: str) -> Path:
    """Make the run `<runs>/<name>-svm-<kernel>/base` from a finished run of that name, unless it is finished already.

    Its settings are those of the network, except for how the head is fitted: one epoch, the training rows as they are, and
    the log loss, which the calibration minimises. Nothing depends on the optimizer's settings.

    Args:
        source: the run folder whose network gives the features.
        data: folder of the data.
        runs: the folder of all runs; packed images go to its `stores` folder.
        kernel: `"linear"` or `"rbf"` (radial basis functions).

    Returns:
        The run folder.

    Raises:
        BadInput: if there is no such kernel, the source is not finished or was trained on another table, a class has too few
            training rows, or the run folder holds another run.
    """
    if kernel not in SVM_KERNELS:
        raise BadInput(f"kernel {kernel}: expected one of {', '.join(SVM_KERNELS)}", setting="kernel")
    folder = runs / fold_name(source.parent.name, 0, kernel) / "base"
    own, task = read_settings(source), read_task_of(source)
    require_own_name(source)
    plain: dict[str, Any] = {"label_smoothing": 0.0, "augmentation": "none", "mixing": "none", "progressive_resizing": 0.0}
    settings = replace(own, stage="base", part="dense", epochs=1, loss=task.kind.loss, **plain)
    require_finished(source)
    partition = read_partition(source, own, task, data)
    require_table(source, partition.table)
    features_layer = NETWORKS[own.model].feature_layer
    config = run_config(settings, task, partition.table, source / "model.keras")
    config["svm"] = {
        "source": f"{source.parent.name}/{source.name}",
        "features": features_layer,
        "kernel": kernel,
        "folds": FOLDS,
        "regularisations": list(REGULARISATIONS[kernel]),
    }
    config["split_sha256"] = split_digest(settings, partition)
    require_same_run(folder, config)
    if is_finished(folder) and (folder / "split.csv").exists():
        read_partition(folder, settings, task, data)
        require_model(folder)
        logger.info("%s is finished already: %s", folder, describe_best(folder))
        return folder
    both = partition.training, partition.validation
    training, validation = (partition.table.at(rows) for rows in both)
    targets = training.known_targets, validation.known_targets
    fold_of_row = make_folds(training, FOLDS, settings.split_seed, settings.groups)
    refuse(data, _class_faults(targets[0], fold_of_row, task.classes))
    network = load(source / "model.keras", shape=model_shape(settings, task))
    extractor = feature_extractor(network, own.model, source / "model.keras")
    images = pack_sets(partition, data, runs, task, settings.size, settings.intensity_range)
    with locked(folder / ".lock", wait=False), opened_run(folder, config, data):
        write_partition(folder / "split.csv", settings, partition)
        features = [predict_rows(extractor, images, rows, "features") for rows in both]
        head = fit_head(features[0], targets[0], task.labels, fold_of_row, kernel, (features[1], targets[1]))
        save(with_head(extractor, head, task.labels, f"{network.name}_svm"), folder / "model.keras")
        logits = [head.logits(each) for each in features]
        probabilities = [task.kind.from_logits(each) for each in logits]
        predictions = Predictions(validation.ids, task.classes, probabilities[1], targets[1], task.labels)
        predictions = replace(predictions, model_sha256=file_digest(folder / "model.keras"))
        write_predictions(folder / "validation.npz", predictions)
        losses = [task.kind.log_loss(*each) for each in zip(logits, targets, strict=True)]
        scores = [validation_scores(task.labels, *each) for each in zip(targets, probabilities, strict=True)]
        score = task.kind.monitor.training
        row = {
            "epoch": 1,
            "regularisation": head.regularisation,
            "cross_validated_loss": head.loss,
            "loss": losses[0],
            score: scores[0][f"validation_{score}"],
            "validation_loss": losses[1],
            **scores[1],
        }
        write_history(folder, pd.DataFrame([row]))  # last: its row says that the run is finished
    logger.info("%s has: %s", source, describe_best(source))
    logger.info("%s is done: %s", folder, describe_best(folder))
    return folder


def with_head(extractor: keras.Model, head: Head, labels: str, name: str) -> keras.Model:
    """Return the network of the features [B, features] with a head on them."""
    scaler, one_vs_rest = head.svm.named_steps.values()
    classifiers, x = one_vs_rest.estimators_, extractor.output
    bias = np.array([each.intercept_[0] for each in classifiers])
    if isinstance(one_vs_rest.estimator, LinearSVC):
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
    validation: tuple[np.ndarray, np.ndarray],
) -> Head:
    """Fit an SVM for each class against the rest, with the C of the least log loss on the validation rows.

    Args:
        features: array [n, features] in the precision of the network: float32, float16 or bfloat16.
        targets: uint8 array [n, classes] of 0 and 1; outside each fold every class has rows with it and rows without it.
        labels: a key of `LABELS`.
        fold_of_row: int array [n], the folds of the cross-validation that the calibration learns from.
        kernel: `"linear"` or `"rbf"`.
        validation: features and targets of the validation rows.
    """
    # Standardisation would blow up features that differ by rounding alone, and the SVM would learn from them. A constant has
    # no effect.
    highest = np.abs(features).max(axis=0)
    rounding = np.maximum(np.spacing(highest).astype(np.float64), 1e-5 * highest.astype(np.float64))
    features = features.astype(np.float64)
    features = np.where(features.std(axis=0) > rounding, features, features.mean(axis=0))
    folds, heads = PredefinedSplit(fold_of_row), []
    with parallel_config("threading", n_jobs=-1):
        for regularisation in tqdm(REGULARISATIONS[kernel], desc="fitting the SVM", disable=None):
            svm = make_pipeline(StandardScaler(), OneVsRestClassifier(CLASSIFIERS[kernel](regularisation)))
            decisions = cross_val_predict(svm, features, targets, cv=folds, method="decision_function")
            scale, offset, loss = calibrate(decisions, targets, labels)
            heads.append(Head(svm.fit(features, targets), scale, offset, regularisation, loss))
    return min(heads, key=lambda head: LABELS[labels].log_loss(head.logits(validation[0]), validation[1]))


def calibrate(decisions: np.ndarray, targets: np.ndarray, labels: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the scale and offset of each class that turn decision values into logits, and the log loss that they leave.

    Multi-label: each class has Platt's sigmoid ("Probabilistic Outputs for Support Vector Machines", 1999). Single-label:
    all classes share one scale before the softmax and have no offsets, so the highest decision value stays the highest
    (temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017). The targets are Platt's: a
    class of m rows has (m + 1) / (m + k) instead of 1, where k is the number of outcomes. This keeps the scale finite for
    decision values without a mistake.

    Args:
        decisions: float array [n, classes], of rows that the SVM has not learned from.
        targets: uint8 array [n, classes] of 0 and 1.
        labels: a key of `LABELS`.

    Returns:
        Two float64 arrays [classes], and a number.
    """
    return LABELS[labels].calibrate(decisions, targets)


def scale_temperature(decisions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return what `calibrate` does for single-label targets."""
    classes, counts = targets.shape[1], targets.sum(axis=0, dtype=np.float64)
    own = (targets @ counts)[:, None]  # how many rows the row's class has
    softened = (targets * own + 1) / (own + classes)
    found = minimize_scalar(lambda power: single_label_log_loss(np.exp(power) * decisions, softened), bounds=(-10, 10))
    return np.full(classes, np.exp(found.x)), np.zeros(classes), found.fun


def fit_sigmoids(decisions: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return what `calibrate` does for multi-label targets."""
    rows, counts = len(targets), targets.sum(axis=0, dtype=np.float64)
    softened = np.where(targets, (counts + 1) / (counts + 2), 1 / (rows - counts + 2))
    outcome = np.repeat([1, 0], rows)  # each row once as positive and once as negative, weighted by the softened target
    sigmoids = [
        LogisticRegression(C=np.inf, solver="newton-cholesky").fit(
            np.tile(decision, 2)[:, None], outcome, np.concatenate([share, 1 - share])
        )
        for decision, share in zip(decisions.T, softened.T, strict=True)
    ]
    scale, offset = (np.ravel([getattr(each, name) for each in sigmoids]) for name in ("coef_", "intercept_"))
    return scale, offset, multi_label_log_loss(decisions * scale + offset, softened)


def single_label_log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean crossentropy of the rows of logits and targets, both [n, classes].

    The targets may lie between 0 and 1, which scikit-learn's `log_loss` does not take.
    """
    return float(np.mean(logsumexp(logits, axis=1) - (targets * logits).sum(axis=1)))


def multi_label_log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Return the mean crossentropy of the single decisions of logits and targets; otherwise as `single_label_log_loss`."""
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))


def _class_faults(targets: np.ndarray, fold_of_row: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    shares = np.stack([targets[fold_of_row != fold].mean(axis=0) for fold in range(FOLDS)])
    return [
        f"class {name}: {count} of the {len(targets)} rows to learn from have it; with each of {FOLDS} folds left out there "
        "must be rows with it and rows without it"
        for name, count, share in zip(classes, targets.sum(axis=0), shares.T, strict=True)
        if share.min() == 0 or share.max() == 1
    ]
