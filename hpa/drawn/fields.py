"""Drawn cells in the competition's own file layout: data for everyone without the real data, and for tests.

A field of view shows several cells. Red are microtubules, blue nuclei, yellow the endoplasmic reticulum, and green a protein
whose pattern shows its one to five classes. The same seed gives the same pixels, in any order and on any number of threads.
"""

import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.random import Generator, default_rng

from hpa.data.images import write_image
from hpa.data.parallel import map_in_threads
from hpa.data.pictures import captioned, write_sheet
from hpa.drawn.cells import Field, blurred, filled, grow_field, noise, strokes
from hpa.drawn.patterns import PATTERNS, cytoplasm, endoplasmic_reticulum, microtubules
from hpa.errors import BadInput
from hpa.files import cores, locked, read_json, write_csv, write_json
from hpa.resources import require_disk, require_picture
from hpa.tasks import HPA

# The competition's train.csv: rows with each class, and rows with one, two, ... five classes.
CLASS_COUNTS = (12885, 1254, 3621, 1561, 1858, 2513, 1008, 2822, 53, 45, 28, 1093, 688, 537,
                1066, 21, 530, 210, 902, 1482, 172, 3777, 802, 2965, 322, 8228, 328, 11)  # fmt: skip
LABELS_PER_ROW = (15126, 12485, 3160, 299, 2)

BRIDGE, SPINDLE, JUNCTIONS, AGGRESOME = 16, 17, 22, 24  # the classes that need cells of a certain shape
DRAWING = 1  # raised when the same seed gives other pixels
SMALLEST = 32  # pixels; below that organelles are smaller than a pixel
BYTES_A_PIXEL = 74  # of memory, as measured, for a field that is being drawn; a single HEp-2 cell takes less
FILE_BYTES_A_PIXEL, FILE_BYTES = 0.7, 4096  # of disk: noise compresses badly, and no file is smaller than a block
SPLITS = ("train", "test")
VISIBLE = 0.25  # of a pattern's most light
RECORD = "drawn.json"

Picture = tuple[Sequence[Path], Callable[[], Iterable[np.ndarray]]]


@dataclass(frozen=True)
class Drawn:
    """A drawn field with the answer key.

    Attributes:
        image: uint8 [size, size, 4]: red, green, blue, yellow.
        cells: uint8 [size, size], the number of the cell at each pixel, 0 outside of cells.
        masks: bool [classes, size, size], where each of the field's classes shows: with a `VISIBLE` part of its most light.
        targets: uint8 [cells + 1, classes] of 0 and 1: whether the class shows in the cell of that number, 0 being outside.
    """

    image: np.ndarray
    cells: np.ndarray
    masks: np.ndarray
    targets: np.ndarray


def write_dataset(folder: Path, train: int, test: int, size: int = 512, seed: int = 0, single_cells: bool = False) -> None:
    """Write drawn cells to `folder` in the competition's layout, on all cores.

    `train/` and `test/` hold `<id>_<channel>.png`, 8 bit grey. `train.csv` has the columns Id and Target,
    `sample_submission.csv` Id and Predicted, and `test_key.csv`, which the competition keeps secret, Id and Target.
    `drawn.json` records the request. An interrupted drawing is completed; a finished one is not changed.

    `size` is that of the square pictures in pixels. A field's pixels depend on the seed, the split, the row and its classes.
    With `single_cells` each cell shows some of its field's classes only. `train_masks/` and `test_masks/` then hold label
    images `<id>.png`, and `train_cells.csv` and `test_cells.csv` the classes of each cell.

    Raises:
        BadInput: if the folder holds anything but the same data set, finished or not, or a number is out of range.
    """
    check(size, seed, cores() * BYTES_A_PIXEL)
    if min(train, test) < 1:
        raise BadInput(f"cannot draw {train} training and {test} test fields; at least one of each is needed")
    folder = Path(folder)

    keys: dict[tuple[str, int], pd.DataFrame] = {}

    def draw(split: str, row: int, target: str) -> list[np.ndarray]:
        generator = default_rng([seed, SPLITS.index(split), 1 + row])
        classes = [int(number) for number in target.split()]
        found = draw_field(classes, size, generator, single_cells)
        if single_cells:
            numbers = [number for number in range(1, len(found.targets)) if (found.cells == number).any()]
            targets = [" ".join(str(classes[each]) for each in np.flatnonzero(found.targets[number])) for number in numbers]
            keys[split, row] = pd.DataFrame({"Cell": numbers, "Target": targets})
        return [*np.moveaxis(found.image, -1, 0), *([found.cells] if single_cells else ())]

    def files(split: str, identifier: str) -> list[Path]:
        channels = [folder / split / f"{identifier}_{channel}.png" for channel in HPA.channels]
        return [*channels, *([folder / f"{split}_masks" / f"{identifier}.png"] if single_cells else ())]

    request: dict[str, Any] = {"train": train, "test": test, "size": size, "seed": seed, "drawing": DRAWING}
    request |= {"single_cells": True} if single_cells else {}
    require_folder(folder, request, (train + test) * len(HPA.channels))  # before tables that may not fit into the memory
    tables = {split: sample_table(split, rows, seed) for split, rows in zip(SPLITS, (train, test), strict=True)}
    pictures = [
        (files(split, identifier), partial(draw, split, row, target))
        for split, table in tables.items()
        for row, (identifier, target) in enumerate(zip(table["Id"], table["Target"], strict=True))
    ]
    submission = tables["test"][["Id"]].assign(Predicted="0")
    written = {"test_key.csv": tables["test"], "sample_submission.csv": submission, "train.csv": tables["train"]}
    write_drawing(folder, request, pictures, "field", written)
    for split, table in tables.items() if single_cells else ():
        if not (folder / f"{split}_cells.csv").exists():
            for row, (identifier, target) in enumerate(zip(table["Id"], table["Target"], strict=True)):
                if (split, row) not in keys:  # drawn before the drawing was broken off
                    draw(split, row, target)
                keys[split, row].insert(0, "Id", identifier)
            write_csv(folder / f"{split}_cells.csv", pd.concat([keys[split, row] for row in range(len(table))]))


def sample_table(split: str, rows: int, seed: int) -> pd.DataFrame:
    """Return the columns Id and Target of a split: ids in ascending order, class numbers separated by spaces in no order."""
    generator = default_rng([seed, SPLITS.index(split), 0])
    ids = sorted(str(uuid.uuid5(uuid.NAMESPACE_OID, f"{seed} {split} {row}")) for row in range(rows))
    targets = [" ".join(map(str, generator.permutation(np.flatnonzero(row)))) for row in sample_targets(rows, generator)]
    return pd.DataFrame({"Id": ids, "Target": targets})


def sample_targets(rows: int, generator: Generator) -> np.ndarray:
    """Draw the classes of some rows, as long-tailed as in the competition. Returns uint8 [rows, 28] of 0 and 1.

    The number of classes of a row is distributed as in the competition. They are drawn without replacement with the real
    class counts as weights. Small data sets, too, need rows of every class: a class with fewer than 1 + rows // 60 rows, at
    most 25, then replaces the commonest class in some rows. With fewer rows than classes nothing is replaced.
    """
    weights = np.array(CLASS_COUNTS)
    lengths = generator.choice(np.arange(1, 6), rows, p=np.array(LABELS_PER_ROW) / sum(LABELS_PER_ROW))
    # The k largest of log-weights plus Gumbel noise are k draws without replacement.
    order = np.argsort(-np.log(weights) - generator.gumbel(size=(rows, len(weights))), axis=1)
    targets = np.zeros(order.shape, np.uint8)
    np.put_along_axis(targets, order, np.arange(len(weights)) < lengths[:, None], axis=1)
    floor = min(25, 1 + rows // 60) if rows >= len(weights) else 0
    for number in range(len(weights)):
        while targets[:, number].sum() < floor:
            commonest = targets.sum(axis=0).argmax()
            row = generator.choice(np.flatnonzero((targets[:, commonest] == 1) & (targets[:, number] == 0)))
            targets[row, [commonest, number]] = 0, 1
    return targets


def check(size: int, seed: int, bytes_a_pixel: int) -> None:
    """Raise BadInput if a picture's size or a seed is out of range, or the memory too small to draw it."""
    if size < SMALLEST or seed < 0:
        needed = f"at least {SMALLEST} pixels and seed 0 are needed"
        raise BadInput(f"cannot draw images of {size} pixels with seed {seed}; {needed}")
    require_picture(size, bytes_a_pixel, "drawing images")


def require_folder(folder: Path, request: dict[str, Any], images: int) -> None:
    """Check where a drawing of so many images goes.

    Raises:
        BadInput: unless the folder is absent, empty, or holds the same drawing, finished or not.
        Failure: if the images do not fit onto the disk.
    """
    record = folder / RECORD
    if folder.exists() and not folder.is_dir():
        raise BadInput(f"{folder}: is a file; name a folder")
    if record.exists():
        found = read_json(record)
        if found != request:
            raise BadInput(f"{folder}: holds cells drawn with {found}, not with {request}; delete it or name another folder")
    elif folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise BadInput(f"{folder}: is not empty and holds no drawn cells; name another folder, nothing here was touched")
    else:
        each = max(FILE_BYTES, int(FILE_BYTES_A_PIXEL * request["size"] ** 2))
        require_disk(folder, images * each, f"{images} images of {request['size']} pixels")


def write_drawing(
    folder: Path, request: dict[str, Any], pictures: Sequence[Picture], unit: str, tables: dict[str, pd.DataFrame]
) -> None:
    """Draw, on all cores, every picture of which a file is missing, then write the CSVs that are not there yet.

    Args:
        folder: as `require_folder` checks it.
        request: what is drawn, to be recorded in the folder.
        pictures: for each of them its files, and what draws it: an image for each file, as `write_image` takes it.
        unit: what the progress bar counts.
        tables: each under its file's name.

    Raises:
        Failure: if another process draws there.
    """

    def draw(picture: Picture) -> None:
        files, images = picture
        for path, image in zip(files, images(), strict=True):
            write_image(path, image)

    with locked(folder / ".lock", wait=False):
        if not (folder / RECORD).exists():
            write_json(folder / RECORD, request)
        missing = [each for each in pictures if not all(path.exists() for path in each[0])]
        for _ in map_in_threads(draw, missing, "drawing", unit=unit):
            pass
        for name, table in tables.items():
            if not (folder / name).exists():
                write_csv(folder / name, table)


def draw_field(classes: Sequence[int], size: int, generator: Generator, single_cells: bool = False) -> Drawn:
    """Draw one field of view whose protein shows `classes`, all in each cell, or with `single_cells` some in each."""
    crowded, daughters, dividing, dented = (number in classes for number in (JUNCTIONS, BRIDGE, SPINDLE, AGGRESOME))
    field = grow_field(size, generator, crowded, daughters, dividing, dented)
    sigma = max(0.55, 0.0021 * size)  # the optics' point spread
    protein = np.zeros((size, size), np.float32)
    masks = np.zeros((len(classes), size, size), bool)
    cells = int(field.labels.max())
    shown = _shares(classes, cells, generator) if single_cells else np.ones((len(classes), cells + 1), np.float32)
    for row, number in enumerate(classes):
        light = blurred(PATTERNS[number](field, generator), sigma)
        own = light * shown[row][field.labels] if single_cells else light
        light = own if own.max() >= VISIBLE * light.max() else light  # its cells may lie at the border and show nothing
        masks[row] = light >= VISIBLE * light.max()
        protein += light * np.float32(generator.uniform(0.5, 1) / light.max())
    level = generator.uniform(0.65, 1, 256).astype(np.float32)  # no two cells make the same amount of it
    level[0] = 1
    protein *= level[field.labels]
    red = microtubules(field, generator)
    if field.bridge is not None:
        red += 0.8 * strokes(size, [field.bridge], 0.06 * field.unit)
    red, blue, yellow = (
        blurred(light, sigma) for light in (red, _blue(field, generator), endoplasmic_reticulum(field, generator))
    )
    image = np.stack([_exposed(light, generator) for light in (red, protein, blue, yellow)], axis=-1)
    targets = np.array([masks[:, field.labels == cell].any(axis=1) for cell in range(cells + 1)], np.uint8)
    return Drawn(image, field.labels, masks, targets)


def _shares(classes: Sequence[int], cells: int, generator: Generator) -> np.ndarray:
    """Choose the classes of each cell, float32 [classes, cells + 1] of 0 and 1: each cell has one, and each class a cell."""
    shown = generator.random((len(classes), cells + 1)) < 0.5
    shown[generator.integers(len(classes), size=cells + 1), np.arange(cells + 1)] = True
    shown[np.arange(len(classes)), generator.integers(1, cells + 1, len(classes))] = True
    shown[[number in (BRIDGE, SPINDLE, JUNCTIONS) for number in classes]] = True  # they are of certain cells anyway
    shown[:, 0] = True
    return shown.astype(np.float32)


def _blue(field: Field, generator: Generator) -> np.ndarray:
    """Return the nuclei, darker at the nucleoli, and the chromosomes of a dividing cell lined up as a plate."""
    light = field.nuclei * (1 - 0.5 * field.nucleoli)
    if field.spindle is not None:
        middle, (x, y) = field.spindle.mean(axis=0), field.spindle[1] - field.spindle[0]
        along, across = 0.09 * np.array([x, y]), 0.33 * np.array([-y, x])
        corners = [middle + along + across, middle + along - across, middle - along - across, middle - along + across]
        light += 1.3 * filled(field.size, np.array([corners]))
    return light * (1 + 0.12 * noise(field.size, 0.08 * field.unit, generator)) + 0.02 * cytoplasm(field)


def _exposed(light: np.ndarray, generator: Generator) -> np.ndarray:
    """Return what the camera records of `light`, uint8 [size, size]."""
    peak, background = generator.uniform(60, 250), generator.uniform(0.003, 0.02)
    expected = np.maximum(light * np.float32(peak / max(np.quantile(light[::4, ::4], 0.999), 0.25 * light.max())), 0)
    expected += np.float32(background * peak)
    recorded = photons(expected, generator)
    gain = generator.uniform(150, 255) / peak
    return np.clip(np.rint(recorded * gain), 0, 255).astype(np.uint8)


def photons(expected: np.ndarray, generator: Generator) -> np.ndarray:
    """Return random numbers of photons around the expected ones, float32 of the same shape.

    They are squares of a normal variable (Anscombe's transform inverted): these have the mean and, up to 1/8, the variance
    of a Poisson distribution, and are drawn five times as fast.
    """
    return np.square(np.sqrt(expected) + 0.5 * generator.standard_normal(expected.shape, np.float32)) - 0.25


def contact_sheet(path: Path, size: int = 256, seed: int = 0) -> None:
    """Write a picture of the 28 classes and their names, 7 by 4 tiles of `size` pixels.

    Microtubules are red, the protein green and nuclei blue.
    """
    check(size, seed, BYTES_A_PIXEL + 3 * 4 * len(HPA.classes))  # colours, in a few copies

    def picture(number: int) -> np.ndarray:
        image = draw_field([number], size, default_rng([seed, number])).image
        red, green, blue, _ = np.moveaxis(image, -1, 0).astype(np.float32)
        return np.stack([0.6 * red, green + 0.15 * blue, 0.75 * blue], axis=-1).clip(0, 255).astype(np.uint8)

    tiles = (captioned(f"{number} {name}", picture(number)) for number, name in enumerate(HPA.classes))
    write_sheet(path, tiles, columns=7)
