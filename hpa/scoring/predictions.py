"""The prediction file: what one model thinks of every sample, as a plain `.npz` without pickles."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpa.errors import BadInput, refuse
from hpa.files import written_whole


@dataclass(frozen=True)
class Predictions:
    """Probabilities of every class for every sample.

    Attributes:
        ids: str array [n].
        classes: class names, one for each column of `probabilities`.
        probabilities: float32 array [n, classes], in [0, 1].
        targets: uint8 array [n, classes] of 0 and 1, or None where the truth is not known.
        labels: `"one"` if each sample has one class, else `"many"`.
        views: how many turned and mirrored views of each image the probabilities are the mean of.
        average: what was averaged over the views, `"probabilities"` or `"logits"`.
    """

    ids: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray
    targets: np.ndarray | None = None
    labels: str = "many"
    views: int = 1
    average: str = "probabilities"


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the fields as arrays of the same names to `path`, whole or not at all."""
    arrays = {
        "ids": np.asarray(predictions.ids, dtype=str),
        "classes": np.asarray(predictions.classes, dtype=str),
        "probabilities": np.asarray(predictions.probabilities, np.float32),
        "labels": np.asarray(predictions.labels),
        "views": np.asarray(predictions.views),
        "average": np.asarray(predictions.average),
    }
    if predictions.targets is not None:
        arrays["targets"] = np.asarray(predictions.targets, np.uint8)
    with written_whole(path) as temporary:
        np.savez(temporary, **arrays)


def read_predictions(path: Path) -> Predictions:
    """Read a prediction file, wherever it comes from; `labels`, `views` and `average` may be absent.

    Raises:
        BadInput: if the file is absent or damaged, an array is missing or has another shape than the others ask for,
            or a probability is not a number in [0, 1]; faulty rows are named.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such prediction file") from error
    except Exception as error:  # np.load and the zip reader below it raise many kinds for a damaged file
        raise BadInput(f"{path}: not a readable prediction file ({error})") from error
    missing = {"ids", "classes", "probabilities"} - arrays.keys()
    if missing:
        raise BadInput(f"{path}: holds no array {', '.join(sorted(missing))}")
    ids, classes, probabilities = arrays["ids"], arrays["classes"], arrays["probabilities"]
    targets = arrays.get("targets")
    if ids.ndim != 1 or classes.ndim != 1:
        raise BadInput(f"{path}: ids and classes must be one-dimensional")
    shape = (len(ids), len(classes))
    for name, array in (("probabilities", probabilities), ("targets", targets)):
        if array is not None and (array.shape != shape or array.dtype.kind not in "biuf"):
            raise BadInput(f"{path}: {name} has shape {array.shape} and type {array.dtype}; expected numbers of {shape}")
    if targets is not None and not np.isin(targets, (0, 1)).all():
        raise BadInput(f"{path}: targets holds other numbers than 0 and 1")
    inside = np.all((probabilities >= 0) & (probabilities <= 1), axis=1)  # false for NaN too
    refuse(path, [f"row {row} (id {ids[row]}) holds a probability that is not in [0, 1]" for row in np.flatnonzero(~inside)])
    labels, views = str(arrays.get("labels", Predictions.labels)), int(arrays.get("views", Predictions.views))
    average = str(arrays.get("average", Predictions.average))
    probabilities = probabilities.astype(np.float32, copy=False)
    return Predictions(ids, tuple(map(str, classes)), probabilities, targets, labels, views, average)
