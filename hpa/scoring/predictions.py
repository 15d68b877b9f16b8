"""The prediction file: the probabilities that one model gives every sample, as an `.npz` without pickles."""

import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpa.errors import BadInput, refuse, shown
from hpa.files import file_digest, require_plain, written_whole
from hpa.labels import LABELS, Labels
from hpa.resources import in_gibibytes
from hpa.tta import NO_TTA, TTA

ARRAYS = (
    "ids", "classes", "probabilities", "targets", "labels", "views", "average", "model_sha256", "stamps_sha256"
)  # fmt: skip
LARGEST = 4 * 2**30  # bytes, tens of millions of samples; a file that says more is damaged, and is not read


@dataclass(frozen=True)
class Predictions:
    """Probabilities of every class for every sample.

    Attributes:
        ids: str array [n].
        classes: class names, one for each column of `probabilities`.
        probabilities: float32 array [n, classes], in [0, 1].
        targets: uint8 array [n, classes] of 0 and 1, or None if they are not known.
        labels: a key of `LABELS`: `"one"` for single-label samples, `"many"` for multi-label ones.
        tta: the test-time augmentation of the probabilities.
        model_sha256: SHA-256 of the `model.keras` that made them, or None if it is not known.
        stamps_sha256: SHA-256 of the `stamps.npy` of the packed images, or None.
    """

    ids: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray
    targets: np.ndarray | None = None
    labels: str = "many"
    tta: TTA = NO_TTA
    model_sha256: str | None = None
    stamps_sha256: str | None = None

    @property
    def known_targets(self) -> np.ndarray:
        """The targets of samples that have labels."""
        if self.targets is None:
            raise ValueError("these predictions have no targets")
        return self.targets

    @property
    def kind(self) -> Labels:
        """What follows from `labels`."""
        return LABELS[self.labels]


@dataclass
class Shared:
    """Ids and targets that prediction files have in common: equal ones are one array, and most are read once.

    In files of many members they are most of the bytes. What an archive says of two arrays, their size and CRC-32, tells
    that they are equal; that two different ones of one size say the same is one chance in four billion.

    Attributes:
        arrays: those that are known.
        of_entry: those that were read, by size and CRC-32.
    """

    arrays: list[np.ndarray] = field(default_factory=list)
    of_entry: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)

    def same(self, array: np.ndarray) -> np.ndarray:
        """Return the known array of the same type that equals this one, or this one, which is known from now on."""
        for each in self.arrays:
            if each is array or (each.dtype == array.dtype and np.array_equal(each, array)):
                return each
        self.arrays.append(array)
        return array

    def read(self, entry: zipfile.ZipInfo, read: Callable[[], np.ndarray]) -> np.ndarray:
        """Return the array that an archive holds, by `read()` unless one of this size and CRC-32 was read before."""
        key = entry.file_size, entry.CRC
        if key not in self.of_entry:
            array = read()
            if not isinstance(array, np.ndarray):  # raw bytes, for the caller to refuse
                return array
            self.of_entry[key] = self.same(array)
        return self.of_entry[key]


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write the fields, and those of `tta`, as arrays of the same names to `path`, whole or not at all."""
    types: dict[str, Any] = {"ids": str, "classes": str, "probabilities": np.float32, "targets": np.uint8}
    values = vars(predictions) | asdict(predictions.tta)
    arrays = {name: np.asarray(values[name], types.get(name)) for name in ARRAYS if values[name] is not None}
    with written_whole(path) as temporary:
        np.savez(temporary, allow_pickle=False, **arrays)


def read_predictions(path: Path, shared: Shared | None = None) -> Predictions:
    """Read a prediction file of any origin; `targets`, `labels` and all after them may be absent.

    Ids and targets may be `shared` with files that were read before.

    Raises:
        BadInput: if the file is absent, damaged or of gigabytes, an array is missing, there twice or of another shape than
            the others, there are no rows or no classes, a class is there twice, `labels`, `views` or `average` is unknown,
            or a probability is not a number in [0, 1]; the text names faulty rows.
    """
    require_plain(path)
    try:
        with zipfile.ZipFile(path) as archive:
            counts = Counter(archive.namelist())
            refuse(path, [f"holds the array {shown(name)} {count} times" for name, count in counts.items() if count > 1])
            size = sum(each.file_size for each in archive.infolist())
            if size > LARGEST:
                raise BadInput(f"{path}: holds arrays of {in_gibibytes(size)}, too much for a prediction file; restore it")
            entries = {each.filename: each for each in archive.infolist()}
        with np.load(path, allow_pickle=False) as file:
            arrays = {}
            for name in [each for each in ARRAYS if each in file.files]:
                entry = entries.get(f"{name}.npy") if name in ("ids", "targets") else None
                arrays[name] = shared.read(entry, partial(file.get, name)) if shared and entry else file[name]
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such prediction file") from error
    except Exception as error:  # np.load and zipfile raise many kinds for a damaged file
        raise BadInput(f"{path}: not a readable prediction file ({shown(str(error), 200)})") from error
    foreign = [name for name, array in arrays.items() if not isinstance(array, np.ndarray)]  # but raw bytes
    refuse(path, [f"{name} is not a NumPy array" for name in foreign])
    if missing := {"ids", "classes", "probabilities"} - arrays.keys():
        raise BadInput(f"{path}: holds no array {', '.join(sorted(missing))}")
    ids, classes, probabilities = arrays["ids"], arrays["classes"], arrays["probabilities"]
    targets = arrays.get("targets")
    if ids.ndim != 1 or classes.ndim != 1:
        raise BadInput(f"{path}: ids and classes must be one-dimensional")
    refuse(path, [f"holds no {what}" for what, names in (("rows", ids), ("classes", classes)) if not len(names)])
    counts = Counter(map(str, classes))
    refuse(path, [f"class {shown(name)} is here {count} times" for name, count in counts.items() if count > 1])
    shape = (len(ids), len(classes))
    for name, array in (("probabilities", probabilities), ("targets", targets)):
        if array is not None and (array.shape != shape or array.dtype.kind not in "biuf"):
            raise BadInput(f"{path}: {name} has shape {array.shape} and type {array.dtype}; expected numbers of {shape}")
    if targets is not None and not ((targets == 0) | (targets == 1)).all():
        raise BadInput(f"{path}: targets holds other numbers than 0 and 1")
    if not (probabilities.min() >= 0 and probabilities.max() <= 1):  # NaN too
        outside = np.flatnonzero(~np.all((probabilities >= 0) & (probabilities <= 1), axis=1))
        refuse(path, [f"row {row} (id {shown(str(ids[row]))}) holds a probability that is not in [0, 1]" for row in outside])
    labels = arrays["labels"].tolist() if "labels" in arrays else "many"
    if labels not in LABELS:
        raise BadInput(f"{path}: labels is {shown(repr(labels))}; expected one of {', '.join(LABELS)}")
    try:
        tta = TTA(**{name: arrays[name].tolist() for name in ("views", "average") if name in arrays})
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from error
    digests = [str(arrays[name]) if name in arrays else None for name in ("model_sha256", "stamps_sha256")]
    probabilities = probabilities.astype(np.float32, copy=False)
    return Predictions(ids, tuple(counts), probabilities, targets, labels, tta, *digests)


def is_made_from(source: Path, digest: str | None, path: Path) -> bool:
    """Return whether the prediction file `path` was made from the present `source`, a model or stamps of images.

    The SHA-256 `digest` of the source in the file decides; without one, the times of the two files.
    """
    if digest:
        return digest == file_digest(source)
    return path.stat().st_mtime_ns >= source.stat().st_mtime_ns


def model_fault(path: Path, own: Predictions) -> str | None:
    """Return what is wrong if the predictions are not of the `model.keras` next to their file, if there is one."""
    model = path.with_name("model.keras")
    if not own.model_sha256 or not model.exists() or is_made_from(model, own.model_sha256, path):
        return None
    return "made by another model.keras; restore that model, or delete this file and run hpa predict, which writes it"
