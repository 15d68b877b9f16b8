"""A support vector machine in the place of a network's dense head, itself layers of a Keras model.

The decision values of a linear one are linear in the features, and so are the standardisation before it and the calibration
after it, so that all three fold into one kernel and bias. With radial basis functions the same holds of the similarities of
the features to the support vectors. The features of the training rows come from a network that has learned from these very
rows: cross-validation among them is on the hopeful side and would take too strong a regularisation, so that the validation
rows choose it, as they choose a network's best epoch.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from joblib import parallel_config
from keras import layers
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import cdist
from scipy.special import expit, logsumexp, softmax
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
from hpa.files import file_digest, locked
from hpa.inference.predict import predict_rows
from hpa.models.catalog import just_in_time, load, save
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
from hpa.runs.monitor import MONITORS, validation_scores
from hpa.runs.split import read_partition
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.settings import CROSSENTROPIES
from hpa.training.plan import require_finished
from hpa.training.train import OUTPUTS

FOLDS = 5
# scikit-learn's C for each kernel: the smaller, the stronger the regularisation.
REGULARISATIONS = {"linear": (1e-4, 1e-3, 1e-2, 1e-1, 1.0), "rbf": (1.0, 10.0, 100.0)}
CACHE = 500  # MB of kernel values that libsvm keeps; its own 200 are few for some thousand rows


@dataclass(frozen=True)
class Basis:
    """What makes similarities to support vectors of features, see `hpa.models.radial_basis`.

    Attributes:
        origin, factors: float64 arrays [features].
        centers: float64 array [centers, features].
    """

    origin: np.ndarray
    factors: np.ndarray
    centers: np.ndarray

    def similarities(self, features: np.ndarray) -> np.ndarray:
        """Return float64 [n, centers] from features [n, features]."""
        return np.exp(-cdist(self.factors * (features - self.origin), self.centers, "sqeuclidean"))


@dataclass(frozen=True)
class Head:
    """A calibrated support vector machine for features as the network gives them.

    Attributes:
        basis: makes the inputs of the kernel from the features; None where they are the features themselves.
        kernel: float64 array [inputs, classes].
        bias: float64 array [classes].
        regularisation: the C that was chosen.
        loss: its cross-validated log loss on the training rows, see `calibrate`.
    """

    basis: Basis | None
    kernel: np.ndarray
    bias: np.ndarray
    regularisation: float
    loss: float

    def logits(self, features: np.ndarray) -> np.ndarray:
        """Return float64 [n, classes] from features [n, features]."""
        inputs = self.basis.similarities(features) if self.basis else features.astype(np.float64)
        return inputs @ self.kernel + self.bias


def replace_head(source: Path, data: Path, runs: Path, kernel: str) -> Path:
    """Make the run `<runs>/<name>-svm-<kernel>/base` from a finished run of that name, or find it made.

    Its settings are those of the network but for what the fit of the head differs in: one epoch, the training rows as they
    are, and the log loss, which the calibration minimises. Nothing in it depends on the optimizer's settings.

    Args:
        source: the run folder whose network gives the features.
        data: folder of the data.
        runs: the folder of all runs; packed images go to its `stores` folder.
        kernel: of the machine, `"linear"` or `"rbf"` (radial basis functions).

    Returns:
        The run folder.

    Raises:
        BadInput: if the source is not finished or was trained on another table, a class has too few rows to learn from, or
            the run folder holds another run.
    """
    folder = runs / f"{source.parent.name}-svm-{kernel}" / "base"
    own, task = read_settings(source), read_task_of(source)
    require_own_name(source)
    plain = {"label_smoothing": 0.0, "augmentation": "none", "mixing": "none", "progressive_resizing": 0.0}
    settings = replace(own, stage="base", part="dense", epochs=1, loss=CROSSENTROPIES[task.labels], **plain)
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
        print(f"{folder} is finished already: {describe_best(folder)}")
        return folder
    training, validation = (partition.table.at(rows) for rows in (partition.training, partition.validation))
    fold_of_row = make_folds(training, FOLDS, settings.split_seed, settings.groups)
    refuse(data, _class_faults(training.targets, fold_of_row, task.classes))
    network = load(source / "model.keras", shape=model_shape(settings, task))
    if features_layer not in [layer.name for layer in network.layers]:
        raise BadInput(f"{source / 'model.keras'}: has no layer {features_layer}, it is no {own.model}; restore the file")
    images = pack_sets(partition, data, runs, task, settings.size, settings.intensity_range)
    with locked(folder / ".lock", wait=False), opened_run(folder, config, data):
        write_partition(folder / "split.csv", settings, partition)
        extractor = keras.Model(network.input, network.get_layer(features_layer).output)
        extractor.compile(jit_compile=just_in_time())
        features = [predict_rows(extractor, images, rows, "features") for rows in (partition.training, partition.validation)]
        of_validation = features[1], validation.targets
        head = fit_head(features[0], training.targets, task.labels, fold_of_row, kernel, of_validation)
        save(with_head(extractor, head, task.labels, f"{network.name}_svm"), folder / "model.keras")
        logits = [head.logits(each) for each in features]
        probabilities = [softmax(each, axis=1) if task.labels == "one" else expit(each) for each in logits]
        predictions = Predictions(validation.ids, task.classes, probabilities[1], validation.targets, task.labels)
        predictions = replace(predictions, model_sha256=file_digest(folder / "model.keras"))
        write_predictions(folder / "validation.npz", predictions)
        score = MONITORS[task.labels].training
        row = {
            "epoch": 1,
            "regularisation": head.regularisation,
            "cross_validated_loss": head.loss,
            "loss": log_loss(logits[0], training.targets, task.labels),
            score: validation_scores(task.labels, training.targets, probabilities[0])[f"validation_{score}"],
            "validation_loss": log_loss(logits[1], validation.targets, task.labels),
            **validation_scores(task.labels, validation.targets, probabilities[1]),
        }
        write_history(folder, pd.DataFrame([row]))  # last: its row says that the run is finished
    print(f"{source} has: {describe_best(source)}")
    print(f"{folder} is done: {describe_best(folder)}")
    return folder


def with_head(extractor: keras.Model, head: Head, labels: str, name: str) -> keras.Model:
    """Return the network of the features [B, features] with a head on them."""
    x = extractor.output
    if head.basis:
        x = similarities(x, head.basis.origin, head.basis.factors, head.basis.centers, f"{DENSE_PART}similarities")
    dense = layers.Dense(len(head.bias), name=f"{DENSE_PART}svm")
    x = dense(x)
    dense.set_weights([head.kernel, head.bias])
    x = layers.Activation(OUTPUTS[labels], dtype="float32", name=f"{DENSE_PART}probabilities")(x)
    return keras.Model(extractor.input, x, name=name)


def fit_head(
    features: np.ndarray,
    targets: np.ndarray,
    labels: str,
    fold_of_row: np.ndarray,
    kernel: str,
    validation: tuple[np.ndarray, np.ndarray],
) -> Head:
    """Fit a machine for each class against the rest, with the C whose log loss on the validation rows is the least.

    Args:
        features: array [n, features] in the precision of the network: float32, float16 or bfloat16.
        targets: uint8 array [n, classes] of 0 and 1; each class has rows and is missing from rows outside every fold.
        labels: `"one"` or `"many"`.
        fold_of_row: int array [n], the folds of the cross-validation that calibrates.
        kernel: `"linear"` or `"rbf"`.
        validation: features and targets of the validation rows.
    """
    # What differs by no more than rounding would be blown up to deviation 1 and learned from; a constant counts nothing.
    highest = np.abs(features).max(axis=0)
    rounding = np.maximum(np.spacing(highest).astype(np.float64), 1e-5 * highest.astype(np.float64))
    features = features.astype(np.float64)
    features = np.where(features.std(axis=0) > rounding, features, features.mean(axis=0))
    folds, heads = PredefinedSplit(fold_of_row), []
    with parallel_config("threading", n_jobs=-1):
        for regularisation in tqdm(REGULARISATIONS[kernel], desc="fitting the machine", disable=None):
            machine = make_pipeline(StandardScaler(), OneVsRestClassifier(MACHINES[kernel](regularisation)))
            decisions = cross_val_predict(machine, features, targets, cv=folds, method="decision_function")
            scale, offset, loss = calibrate(decisions, targets, labels)
            basis, coefficients, intercept = _weights(features, machine.fit(features, targets), kernel)
            heads.append(Head(basis, coefficients * scale, intercept * scale + offset, regularisation, float(loss)))
    return min(heads, key=lambda head: log_loss(head.logits(validation[0]), validation[1], labels))


def _weights(features: np.ndarray, fitted: Pipeline, kernel: str) -> tuple[Basis | None, np.ndarray, np.ndarray]:
    """Return the basis of the machines' inputs, and what these count for each class, and the intercepts."""
    scaler, machines = fitted.named_steps.values()
    intercept = np.array([machine.intercept_[0] for machine in machines.estimators_])
    if kernel == "rbf":
        return *_support(features, scaler, machines), intercept
    coefficients = np.stack([machine.coef_[0] for machine in machines.estimators_], axis=1) / scaler.scale_[:, None]
    return None, coefficients, intercept - scaler.mean_ @ coefficients


def _support(features: np.ndarray, scaler: StandardScaler, machines: OneVsRestClassifier) -> tuple[Basis, np.ndarray]:
    """Return the support vectors of all machines, scaled so that gamma is 1, and what they count for each class."""
    coefficients = np.zeros((len(features), len(machines.estimators_)))
    for number, machine in enumerate(machines.estimators_):
        coefficients[machine.support_, number] = machine.dual_coef_[0]
    supports = np.flatnonzero(coefficients.any(axis=1))
    width = features.shape[1] ** -0.5  # the root of the gamma "auto"
    basis = Basis(scaler.mean_, width / scaler.scale_, width * scaler.transform(features[supports]))
    return basis, coefficients[supports]


def calibrate(decisions: np.ndarray, targets: np.ndarray, labels: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Return the scale and offset of each class that turn decision values into logits, and the log loss that they leave.

    With many labels each class has Platt's sigmoid ("Probabilistic Outputs for Support Vector Machines", 1999). With one
    label all classes share one scale before the softmax, without offsets, so the highest decision value stays the highest
    (temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017). The targets are Platt's: a
    class of m rows has (m + 1) / (m + k) in place of 1, where k is the number of outcomes, so that the scale stays finite
    for decision values without a mistake.

    Args:
        decisions: float array [n, classes], of rows that the machine has not learned from.
        targets: uint8 array [n, classes] of 0 and 1.
        labels: `"one"` or `"many"`.

    Returns:
        Two float64 arrays [classes], and a number.
    """
    rows, classes = targets.shape
    counts = targets.sum(axis=0, dtype=np.float64)
    if labels == "one":
        own = (targets @ counts)[:, None]  # how many rows the row's class has
        softened = (targets * own + 1) / (own + classes)
        found = minimize_scalar(lambda power: log_loss(np.exp(power) * decisions, softened, labels), bounds=(-10, 10))
        return np.full(classes, np.exp(found.x)), np.zeros(classes), found.fun
    softened = np.where(targets, (counts + 1) / (counts + 2), 1 / (rows - counts + 2))
    outcome = np.repeat([1, 0], rows)  # each row once as positive and once as negative, weighted by the softened target
    sigmoids = [
        LogisticRegression(C=np.inf, solver="newton-cholesky").fit(
            np.tile(decision, 2)[:, None], outcome, np.concatenate([share, 1 - share])
        )
        for decision, share in zip(decisions.T, softened.T, strict=True)
    ]
    scale, offset = (np.ravel([getattr(each, name) for each in sigmoids]) for name in ("coef_", "intercept_"))
    return scale, offset, log_loss(decisions * scale + offset, softened, labels)


def log_loss(logits: np.ndarray, targets: np.ndarray, labels: str) -> float:
    """Return the mean crossentropy, of rows or of single labels, of logits and targets in [0, 1], both [n, classes]."""
    if labels == "one":
        return float(np.mean(logsumexp(logits, axis=1) - (targets * logits).sum(axis=1)))
    return float(np.mean(np.logaddexp(0, logits) - targets * logits))


# Solved without random numbers both. Of the linear one this is the primal problem; 0.01 is the tolerance that liblinear
# itself has for it, and a finer one takes hundreds of steps to the same decisions where C is large.
MACHINES = {
    "linear": lambda regularisation: LinearSVC(C=regularisation, dual=False, tol=0.01),
    "rbf": lambda regularisation: SVC(C=regularisation, gamma="auto", cache_size=CACHE),
}


def _class_faults(targets: np.ndarray, fold_of_row: np.ndarray, classes: tuple[str, ...]) -> list[str]:
    shares = np.stack([targets[fold_of_row != fold].mean(axis=0) for fold in range(FOLDS)])
    return [
        f"class {name}: {count} of the {len(targets)} rows to learn from have it; with each of {FOLDS} folds left out there "
        "must be rows with it and rows without it"
        for name, count, share in zip(classes, targets.sum(axis=0), shares.T, strict=True)
        if share.min() == 0 or share.max() == 1
    ]
