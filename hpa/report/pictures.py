"""The pictures of the report page: tiles of images, heat maps, similar images, and the map of all images.

What takes a network is kept in the run folder, `report.npz`, until the model, the images that are shown, or the training
images that they are compared with change.
"""

import base64
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import compress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from hpa.backend import quiet_import
from hpa.data.duplicates import digest, find_copies, thumbnail
from hpa.data.images import resized
from hpa.data.intensity import Ranges
from hpa.data.partition import own_sets
from hpa.data.pictures import NUCLEI, stretched
from hpa.data.segmentation import BODY, segment
from hpa.data.store import ConcatenatedImages, store_folder
from hpa.errors import BadInput, Failure
from hpa.files import file_digest, read_json, written_whole
from hpa.runs.folder import data_of, read_settings, read_task_of
from hpa.runs.split import read_partition
from hpa.tasks import HPA

LARGEST = 8_000_000  # bytes of all tiles; as base64 they are a third larger, and there are those of similar images
SIDES = (256, 192, 160, 128, 112, 96, 80, 64, 56, 48, 40, 32)  # of tiles, in pixels
QUALITY = 70  # of WebP
HEAT = 24  # side of a heat map, in cells
# Training images of 256 pixels, drawn at random, among which similar ones and copies are looked for; of smaller ones more.
COMPARED = 2000
SIMILAR = 3
SHOWN_SIMILAR = 150  # rows whose similar images are shown; others name them

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Images:
    """Images by row, or by their place in a store.

    Attributes:
        ids: str array [n].
        pixels: uint8 [n, S, S, C], as the network takes them.
        stamps: uint64 [n], numbers that change with the files that the images are made of.
        ranges: the intensity range of the run, if its files have 16 bits.
    """

    ids: np.ndarray
    pixels: np.ndarray | ConcatenatedImages
    stamps: np.ndarray
    ranges: Ranges | None = None

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Return the images of some rows, uint8 [m, S, S, C]."""
        return self.pixels[np.asarray(rows, np.int64)]

    def arrays(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return images as `read_images` takes arrays for this run: with 16 bits if its files have them."""
        images = list(self.at(rows))
        if self.ranges is None:
            return images
        if None in self.ranges:
            raise BadInput("some channels have 8 bits, others 16")
        low, high = np.array(self.ranges, np.float64).T
        # `in_8_bits` makes the same levels of the nearest numbers. A range of fewer than 256 numbers has no number for the
        # levels in between.
        return [np.rint(low + image * (high - low) / 255).astype(np.uint16) for image in images]


def stored_images(folder: Path) -> Images:
    """Return the packed images that the run in a folder learned from and was validated with; Failure if there are none."""
    task, settings, data, runs = read_task_of(folder), read_settings(folder), data_of(folder), folder.parents[1]
    form = task, settings.size, settings.intensity_range
    places = [store_folder(runs, data / name, *form) for name in own_sets(settings)]
    found = [place for place in places if (place / "images.npy").exists()]
    if not found:
        raise Failure(f"{places[0]}: no packed images; run hpa pack, or hpa report where the run was trained")
    ids = np.concatenate([read_json(place / "store.json")["ids"] for place in found])
    pixels = ConcatenatedImages([np.load(place / "images.npy", mmap_mode="r") for place in found])
    stamps = np.concatenate([np.load(place / "stamps.npy") for place in found])
    return Images(ids, pixels, stamps, settings.intensity_range)


def tiles(images: Images, rows: np.ndarray, largest: int = SIDES[0]) -> tuple[int, list[str]]:
    """Return the side of tiles and, for each row, a grey WebP of its channels one below the other, in base64.

    Each channel's contrast is stretched for people. The side is the largest one with which all tiles are small enough.
    """
    largest = min(images.at(rows[:1]).shape[1], largest)
    sides = [largest, *(side for side in SIDES if side < largest)]
    sample = rows[:: max(len(rows) // 32, 1)]
    share = LARGEST * len(sample) / len(rows)
    side = next((side for side in sides if sum(len(_tile(images, row, side)) for row in sample) <= share), sides[-1])
    return side, [base64.b64encode(_tile(images, row, side)).decode() for row in rows]


def _tile(images: Images, row: int, side: int) -> bytes:
    image = images.at(np.array([row]))[0]
    small = np.dstack([resized(image[..., channel], side) for channel in range(image.shape[-1])])
    column = np.vstack(list(np.moveaxis(stretched(small, small), -1, 0)))
    return bytes(cv2.imencode(".webp", column, [cv2.IMWRITE_WEBP_QUALITY, QUALITY])[1])


def insight(folder: Path, images: Images, rows: np.ndarray, classes: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return what the network of a run says of some rows: heat maps, similar training images, and a map of all.

    Args:
        folder: the run folder.
        images: those of the rows.
        rows: integers [m], of `images`.
        classes: for each of the first rows the numbers of the classes whose heat maps are shown.

    Returns:
        `method` and `heat`: for each of the first rows, heat maps by class number, int8 [24, 24] in base64; `cells`: what
        `single_cells` returns, of the first rows; `xy`, float [m, 2], within 0 to 1, and `map`, its method; `similar`: for
        each row, ids and cosines; `copies`: for each row, ids; `compared`: how many training images these are of.
    """
    shown = images.ids[rows]
    learned, place, names = _compared(folder, images, shown)
    model = file_digest(folder / "model.keras")
    stamped = [each.tolist() for each in (shown, images.stamps[rows], learned.ids[place], learned.stamps[place], names)]
    key = hashlib.sha256(repr((3, model, stamped, classes, HEAT, _reducer())).encode()).hexdigest()
    kept = folder / "report.npz"
    if kept.exists():
        with np.load(kept, allow_pickle=False) as file:
            if str(file["key"]) == key:
                return _told({name: file[name] for name in file.files})
    with quiet_import():
        from hpa.inference.embeddings import embed, nearest
        from hpa.inference.explain import explain

    pixels = images.arrays(rows)
    own, others = np.split(embed(folder, pixels + (learned.arrays(place) if len(place) else [])).features, [len(rows)])
    arrays: dict[str, Any] = {"key": key, "xy": spread(own), "map": _reducer(), "compared": len(place)}
    every, names = np.concatenate([shown, learned.ids[place]]), np.concatenate([np.full(len(rows), ""), names])
    seen = [(images, row) for row in rows] + [(learned, row) for row in place]
    if len(place):
        found, cosines = nearest(own, others, SIMILAR)
        found += len(rows)
        arrays |= {"similar": every[found], "cosines": cosines.round(3), "names": names[found]}
    copies = [
        [{"id": str(every[other]), "classes": str(names[other])} for other in each] for each in _copies(seen, len(rows))
    ]
    arrays |= {"copies": json.dumps(copies), "cells": json.dumps(single_cells(folder, images.at(rows[: len(classes)])))}
    heat, pairs, method = [], [], ""
    for number, explained in enumerate(explain([folder], pixels[: len(classes)]) if classes else ()):
        method = explained.method
        for label in classes[number]:
            small = cv2.resize(explained.maps[label], (HEAT, HEAT), interpolation=cv2.INTER_AREA)
            heat.append(np.round(127 * small / max(float(np.abs(small).max()), 1e-12)).astype(np.int8))
            pairs.append((number, label))
    arrays |= {"heat": np.array(heat, np.int8), "pairs": np.array(pairs, np.int64).reshape(-1, 2), "method": method}
    with written_whole(kept) as temporary:
        np.savez(temporary, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()})
    return _told(arrays)


def _compared(folder: Path, images: Images, shown: np.ndarray) -> tuple[Images, np.ndarray, np.ndarray]:
    """Return training images, the places of some that are not shown, int64 [m], and the classes of these, str [m].

    Without packed training images or their split a warning is logged, and there are no places.
    """
    task = read_task_of(folder)
    try:
        learned = stored_images(folder)
        partition = read_partition(folder, read_settings(folder), task, data_of(folder))
    except (BadInput, Failure) as error:
        logger.warning("%s: no similar training images: %s", folder, error)
        return images, np.empty(0, np.int64), np.empty(0, str)
    table = partition.table.at(partition.training)
    place = np.flatnonzero(np.isin(learned.ids, table.ids) & ~np.isin(learned.ids, shown))
    most = max(COMPARED * 256**2 // learned.pixels.shape[1] ** 2, COMPARED)
    place = np.sort(np.random.default_rng(0).permutation(place)[:most])
    targets = table.known_targets[pd.Index(table.ids).get_indexer(learned.ids[place])]
    return learned, place, np.array([" | ".join(compress(task.classes, row)) for row in targets], str)


def _copies(seen: Sequence[tuple[Images, int]], count: int) -> list[list[int]]:
    """Return for each of the first images the numbers of its copies among all, by `find_copies`."""
    pixels = (images.at(np.array([row]))[0] for images, row in seen)
    digests, thumbnails = zip(*((digest(image), thumbnail(image)) for image in pixels), strict=True)
    group = find_copies(np.array(digests), np.array(thumbnails)).group
    members: dict[int, list[int]] = {}
    for number, own in enumerate(group.tolist()):
        members.setdefault(own, []).append(number)
    return [[other for other in members[own] if other != number] for number, own in enumerate(group[:count].tolist())]


def single_cells(folder: Path, pixels: np.ndarray) -> list[list[dict[str, Any]]]:
    """Return the cells of some images, found by a watershed, as `hpa cells` classifies them.

    There are none for a task of one channel or without a channel of `NUCLEI`, and for a network that flattens its maps.

    Args:
        folder: the run folder.
        pixels: uint8 [n, S, S, C], as the network takes them.

    Returns:
        For each image and cell its `outline`, points (x, y) within 0 to 1, and its `probabilities` by class.
    """
    from hpa.inference.cells import cell_probabilities
    from hpa.inference.parts import cut_run

    task, side = read_task_of(folder), pixels.shape[1]
    nuclear = [name.lower() in NUCLEI for name in task.channels]
    filling = [name in BODY if task == HPA else name.lower() not in NUCLEI for name in task.channels]
    if not len(pixels) or not any(nuclear) or not any(filling) or (parts := cut_run(folder)).dense is None:
        return []
    found = []
    for image in pixels:
        labels = segment(*(image[..., channels].sum(axis=-1, dtype=np.float32) for channels in (nuclear, filling)))
        probabilities = cell_probabilities(parts, image, labels, task)
        cells = []
        for number, own in zip(np.unique(labels[labels > 0]), np.sqrt(probabilities[:-1] * probabilities[-1]), strict=True):
            outlines, _ = cv2.findContours((labels == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            outline = cv2.approxPolyDP(max(outlines, key=len), 0.7, True)[:, 0]
            cells.append({"outline": ((outline + 0.5) / side).round(3).tolist(), "probabilities": own.round(3).tolist()})
        found.append(cells)
    return found


def spread(features: np.ndarray) -> np.ndarray:
    """Return features [n, d] as points on a map, float64 [n, 2] within 0 to 1: by UMAP where it is installed, else t-SNE.

    Fewer than 20 rows are spread by their first two principal components. Rows that are all the same are one point.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import StandardScaler

    n = len(features)
    if n < 3 or (features == features[0]).all():  # t-SNE would divide by their deviation, 0, and crash
        return np.full((n, 2), 0.5)
    scaled = StandardScaler().fit_transform(features)
    scaled = PCA(min(30, *scaled.shape), random_state=0).fit_transform(scaled)
    if n >= 20:
        if _reducer() == "UMAP":
            with quiet_import():  # it loads TensorFlow if there is one
                from umap import UMAP  # type: ignore[import-not-found]

            scaled = UMAP(random_state=0, n_jobs=1).fit_transform(scaled)
        else:
            with threadpool_limits(1):  # threads that wait for each other take longer than one where cores are busy
                scaled = TSNE(perplexity=min(30, n / 4), init="pca", random_state=0).fit_transform(scaled)
    points = scaled[:, :2].astype(np.float64)
    points = points if points.shape[1] == 2 else np.repeat(points, 2, axis=1)
    return np.asarray((points - points.min(axis=0)) / np.maximum(np.ptp(points, axis=0), 1e-12))


def _reducer() -> str:
    return "UMAP" if find_spec("umap") else "t-SNE"


def _told(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return what `insight` does, from the arrays of its file."""
    heat: dict[int, dict[int, str]] = {}
    for (number, label), own in zip(arrays["pairs"].tolist(), arrays["heat"], strict=True):
        heat.setdefault(number, {})[label] = base64.b64encode(own.tobytes()).decode()
    keys = ("id", "cosine", "classes")
    every = zip(*(arrays[name].tolist() for name in ("similar", "cosines", "names") if name in arrays), strict=True)
    similar = [[dict(zip(keys, each, strict=True)) for each in zip(*row, strict=True)] for row in every]
    told = {"heat": heat, "similar": similar, "xy": arrays["xy"].round(4).tolist(), "compared": int(arrays["compared"])}
    told |= {name: json.loads(str(arrays[name])) for name in ("copies", "cells")}
    return told | {name: str(arrays[name]) for name in ("map", "method")}
