"""Features: what a network makes of an image before its last layers, as a table, and the neighbours by them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from hpa.data.groups import read_groups
from hpa.errors import BadInput, installing, refuse
from hpa.files import file_digest, require_plain, write_csv, written_whole
from hpa.hardware import jit_compile
from hpa.inference.images import Images, chosen_samples, read_images
from hpa.inference.predict import BATCH, form_of, load_run
from hpa.registry import NETWORKS
from hpa.runs.folder import read_settings, read_task_of
from hpa.runs.split import learned_ids
from hpa.scoring.conformal import p_values
from hpa.tta import NO_TTA, TTA

logger = logging.getLogger(__name__)

SUFFIXES = (".npz", ".parquet", ".h5ad")
SURE = 0.05  # of images of known classes at most this share has a p-value so low


@dataclass(frozen=True)
class Embedding:
    """The features of some samples.

    Attributes:
        ids: str array [n].
        features: float32 array [n, features].
        classes: class names.
        targets: uint8 array [n, classes] of 0 and 1, or None if they are not known.
        model_sha256: SHA-256 of the `model.keras` that made them.
    """

    ids: np.ndarray
    features: np.ndarray
    classes: tuple[str, ...]
    targets: np.ndarray | None
    model_sha256: str


def feature_extractor(network: keras.Model, model: str, path: Path) -> keras.Model:
    """Return the compiled network of the features that an SVM head takes: uint8 images to [B, features].

    Args:
        network: as its file holds it.
        model: its name in `NETWORKS`, which says which layer that is.
        path: the file, for the message.

    Raises:
        BadInput: if it has no such layer.
    """
    layer = NETWORKS[model].feature_layer
    if layer not in [each.name for each in network.layers]:
        raise BadInput(f"{path}: has no layer {layer}, so is no {model}; restore the file")
    extractor = keras.Model(network.input, network.get_layer(layer).output)
    extractor.compile(jit_compile=jit_compile())
    return extractor


def extractor_of(folder: Path) -> keras.Model:
    """Return the `feature_extractor` of the network of a run folder; raise BadInput if it has none."""
    return feature_extractor(load_run(folder), read_settings(folder).model, folder / "model.keras")


def embed(
    folder: Path,
    images: Images,
    targets: np.ndarray | None = None,
    tta: TTA = NO_TTA,
    extractor: keras.Model | None = None,
) -> Embedding:
    """Return the pooled features that a run's network has of some images.

    Args:
        folder: the run folder.
        images: as for `hpa.api.Run.predict`.
        targets: uint8 array [n, classes], where known.
        tta: test-time augmentation; the features are the mean over its views, whatever it averages: they have no logits.
        extractor: what `extractor_of` returns for the folder, if it is there already.

    Raises:
        BadInput: if the run has no model, or an image cannot be used.
    """
    task, form = read_task_of(folder), form_of(folder)
    extractor = extractor or extractor_of(folder)
    ids, batches = read_images(images, task, [form])
    shown = min(BATCH, len(ids))
    mean = TTA(tta.views)
    features = [np.asarray(mean.predict(extractor, batch[form], task.labels, shown), np.float32) for batch in batches]
    found = np.concatenate(features) if features else np.empty((0, extractor.output.shape[-1]), np.float32)
    return Embedding(np.array(ids, str), found, task.classes, targets, file_digest(folder / "model.keras"))


def embed_samples(
    folder: Path,
    data: Path | None,
    images: Sequence[Path],
    out: Path,
    neighbours: int | None = None,
    reference: Path | None = None,
    known: Path | None = None,
    groups: str | None = None,
    tta: TTA = NO_TTA,
) -> str:
    """Write the features of some samples, see `write_embedding`, and return in words what was written.

    With `known`, `<out>-known.csv` has a row for each image: its Id, the cosine of its nearest reference, and the p-value of
    the claim that it is of a known class, see `hpa.scoring.conformal.p_values`.

    Args:
        folder: the run folder.
        data: a labelled set, or None.
        images: else folders and files, see `chosen_samples`.
        out: the table to write.
        neighbours: how many most similar images of each one stand in `<out>-neighbours.csv`; None for no such table.
        reference: features that these are looked for in, of samples that the network has learned from; None for the images
            themselves.
        known: features of samples of known classes that the network has not learned from; only with a reference.
        groups: which of the known samples belong together, see `read_groups`; the p-values then hold for new groups.
        tta: test-time augmentation.

    Raises:
        BadInput: if an image or a file of features cannot be used, or a file that `write_embedding` wrote is of another
            network.
    """
    require_suffix(out)
    ids, others, others_model = _read_features(reference) if reference else (None, None, None)
    known_ids, usual, usual_model = _read_features(known) if known else (None, None, None)
    group = None if known_ids is None else read_groups(groups, known_ids)
    samples, files = chosen_samples(read_task_of(folder), data, images)
    extractor = extractor_of(folder)
    width, own_model = extractor.output.shape[-1], file_digest(folder / "model.keras")
    for path, columns, model in ((reference, others, others_model), (known, usual, usual_model)):
        if columns is not None and columns.shape[1] != width:
            fix = "name those of this run"
            raise BadInput(f"{path}: has {columns.shape[1]} features, the network of {folder} {width}; {fix}")
        if model not in (None, own_model):  # of another fold, say: as many features, of other meaning
            fix = f"write it again with hpa embed --run {folder}"
            raise BadInput(f"{path}: holds features of another network than {folder / 'model.keras'}; {fix}")
    if neighbours and others is None and len(samples.ids) < 2:
        raise BadInput("neighbours: there is one image, which has none; name more, or a reference", setting="neighbours")
    found = replace(embed(folder, files, samples.targets, tta, extractor), ids=samples.ids)
    write_embedding(out, found)
    text = f"{out}: {width} features of {len(found.ids)} images"
    if neighbours:
        among = found.features if others is None else others
        rows, cosines = nearest(found.features, among, neighbours, same=others is None)
        table = out.with_name(f"{out.stem}-neighbours.csv")
        write_csv(table, neighbour_table(found.ids, found.ids if ids is None else ids, rows, cosines))
        text += f"\n{table}: the nearest {rows.shape[1]} of {len(among)}"
    if usual is not None:
        assert others is not None
        assert known_ids is not None
        if learned := np.count_nonzero(np.isin(known_ids, learned_ids(folder))):
            logger.warning("%s: %s has learned from %d of these, so p-values are too low", known, folder, learned)
        every = nearest(np.concatenate([found.features, usual]), others, 1)[1][:, 0]
        cosines, of_known = np.split(every, [len(found.ids)])
        p = p_values(-cosines, -of_known, group)
        table = out.with_name(f"{out.stem}-known.csv")
        write_csv(table, pd.DataFrame({"Id": found.ids, "cosine": cosines.round(4), "p": p.round(4)}))
        text += f"\n{table}: {(p <= SURE).sum()} of {len(p)} images have a p-value of {SURE} or less: none of these classes"
    return text


def nearest(features: np.ndarray, reference: np.ndarray, count: int, same: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest rows of a reference by the cosine of standardised features, the nearest first.

    Args:
        features: float array [n, features].
        reference: float array [m, features]; each feature is scaled to its mean and deviation here.
        count: how many; at most m.
        same: whether the two are the same rows. No row is its own neighbour then.

    Returns:
        int array [n, count] of rows of the reference, and float array [n, count] of cosines, -1 to 1.
    """
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(reference)
    index = NearestNeighbors(n_neighbors=min(count, len(reference) - same), metric="cosine").fit(scaler.transform(reference))
    distances, rows = index.kneighbors(None if same else scaler.transform(features))
    return rows, 1 - distances


def neighbour_table(ids: np.ndarray, reference: np.ndarray, rows: np.ndarray, cosines: np.ndarray) -> pd.DataFrame:
    """Return what `nearest` found as a table with a row for each neighbour: Id, rank, neighbour, cosine."""
    n, count = rows.shape
    ranks = np.tile(np.arange(1, count + 1), n)
    return pd.DataFrame(
        {
            "Id": np.repeat(ids, count),
            "rank": ranks,
            "neighbour": reference[rows].ravel(),
            "cosine": cosines.ravel().round(4),
        }
    )


def write_embedding(path: Path, found: Embedding) -> None:
    """Write features as a table, whole or not at all; the suffix says the format.

    `.npz`: the fields as arrays of the same names, without pickle. `.parquet`: columns Id, feature_0 ..., and Target, which
    needs pyarrow. `.h5ad`: an AnnData file; X are the features, obs the ids with a column of 0 and 1 for each class.

    Raises:
        BadInput: for another suffix, or if pyarrow is not installed.
    """
    require_suffix(path)
    names = [f"feature_{number}" for number in range(found.features.shape[1])]
    with written_whole(path) as temporary:
        if path.suffix == ".npz":
            arrays = {name: value for name, value in vars(found).items() if value is not None}
            np.savez(temporary, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()})
        elif path.suffix == ".parquet":
            frame = pd.DataFrame(found.features, columns=names)
            frame.insert(0, "Id", found.ids)
            if found.targets is not None:
                frame["Target"] = [" ".join(map(str, np.flatnonzero(row))) for row in found.targets]
            frame.to_parquet(temporary, index=False, engine="pyarrow")
        else:
            _write_anndata(temporary, found, names)


def require_suffix(path: Path) -> None:
    """Raise BadInput if features cannot be written to a file of this name here."""
    if path.suffix not in SUFFIXES:
        raise BadInput(f"out {path}: expected a name that ends in {', '.join(SUFFIXES)}", setting="out")
    if path.suffix == ".parquet" and find_spec("pyarrow") is None:
        raise BadInput(f"out {path}: needs pyarrow; {installing('embed')}, or write .npz", setting="out")


def read_features(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read features by id, of any origin: an NPZ with `ids` [n] and `features` [n, d], or a CSV with Id and numbers.

    Returns:
        str array [n], and float32 array [n, d].

    Raises:
        BadInput: if the file is absent or damaged, an id is there twice, or a number is missing or not finite.
    """
    ids, features, _ = _read_features(path)
    return ids, features


def _read_features(path: Path) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Do `read_features`, and return the SHA-256 of the `model.keras` that made them, too; None if the file has none."""
    require_plain(path)
    model = None
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                ids, features = np.asarray(file["ids"]).astype(str), np.asarray(file["features"])
                model = str(file["model_sha256"]) if "model_sha256" in file else None
        else:
            frame = pd.read_csv(path, dtype={"Id": str})
            ids, features = frame.pop("Id").to_numpy(str), frame.to_numpy()
        features = features.astype(np.float32)
        if features.ndim != 2 or ids.shape != features.shape[:1] or not features.size:
            raise ValueError(f"ids {list(ids.shape)} and features {list(features.shape)}, expected [n] and [n, d]")
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file of features") from error
    except Exception as error:  # np.load, zipfile and pandas raise many kinds for a damaged file
        reason = str(error).splitlines() or [type(error).__name__]
        raise BadInput(f"{path}: not features by id, as .npz with ids and features or .csv with Id ({reason[0]})") from error
    names, counts = np.unique(ids, return_counts=True)
    faults = [f"id {name} is there {count} times" for name, count in zip(names, counts, strict=True) if count > 1]
    refuse(path, faults + [f"id {ids[row]}: a feature is no finite number" for row in
                           np.flatnonzero(~np.isfinite(features).all(axis=1))])  # fmt: skip
    return ids, features, model


def _write_anndata(path: Path, found: Embedding, names: Sequence[str]) -> None:
    """Write an AnnData file by h5py, which Keras brings: https://anndata.readthedocs.io/en/stable/fileformat-prose.html."""
    import h5py

    def table(group: h5py.Group, index: Sequence[str] | np.ndarray, columns: dict[str, np.ndarray]) -> None:
        encoded = {"encoding-type": "dataframe", "encoding-version": "0.2.0", "_index": "_index"}
        group.attrs.update(encoded)
        group.attrs.create("column-order", list(columns), dtype=h5py.string_dtype())
        text(group, "_index", index)
        for name, values in columns.items():
            mark(group.create_dataset(name, data=values), "array")

    def text(group: h5py.Group, name: str, values: object) -> None:
        mark(group.create_dataset(name, data=np.asarray(values, object), dtype=h5py.string_dtype()), "string-array")

    def mark(item: h5py.Dataset, kind: str) -> None:
        item.attrs.update({"encoding-type": kind, "encoding-version": "0.2.0"})

    with h5py.File(path, "w") as file:
        file.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        mark(file.create_dataset("X", data=found.features), "array")
        targets = found.targets if found.targets is not None else np.empty((len(found.ids), 0), np.uint8)
        columns = {
            name.replace("/", "|"): column for name, column in zip(found.classes, targets.T, strict=False)
        }  # / nests in HDF5
        table(file.create_group("obs"), found.ids, columns)
        table(file.create_group("var"), names, {})
        uns = file.create_group("uns")
        uns.attrs.update({"encoding-type": "dict", "encoding-version": "0.1.0"})
        text(uns, "classes", found.classes)
        uns["model_sha256"] = found.model_sha256
        uns["model_sha256"].attrs.update({"encoding-type": "string", "encoding-version": "0.2.0"})
