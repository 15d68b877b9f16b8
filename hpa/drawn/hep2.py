"""Drawn single HEp-2 cells in class folders: data for everyone without the real cells, and for tests.

The six classes differ in where the cell emits light. As in the real data, all cells of a specimen are of one class, have
neighbouring ids and the same sharpness, noise and stray light. The contrast of each picture is stretched, and single cells,
not specimens, are distributed over the sets. The same seed gives the same pixels.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.random import Generator, default_rng

from hpa.data.pictures import captioned, write_sheet
from hpa.drawn.cells import DIRECTIONS, Cell, Field, blurred, dots, field_of, filled, noise
from hpa.drawn.fields import check, photons, require_folder, write_drawing
from hpa.drawn.patterns import endoplasmic_reticulum, golgi_apparatus, nuclear_membrane
from hpa.errors import BadInput
from hpa.files import cores
from hpa.tasks import HEP2

CLASS_COUNTS = (2254, 559, 1971, 1767, 2069, 2256)  # the rows of the real gt_training.csv
CELLS_PER_SPECIMEN = 12  # the last of a class has fewer; a real one has some 160
SPECIMENS_SHOWN = 4
BYTES_A_PIXEL = 53  # of memory, as measured, for a cell that is being drawn
DRAWING = 1  # raised when the same seed gives other pixels


def write_cells(folder: Path, train: int, validation: int, test: int, size: int = 78, seed: int = 0) -> None:
    """Write drawn cells to `folder`, on all cores.

    `train/`, `validation/` and `test/` hold `<class>/<id>.png`, 8 bit grey; ids are numbers with leading zeros, distinct
    over the sets. `gt_training.csv` has the columns Image ID and Image class, for training and validation.

    `size` is that of the square pictures in pixels. An interrupted drawing is completed.

    Raises:
        BadInput: if the folder holds anything but the same data set, finished or not, or a number is out of range.
    """
    check(size, seed, cores() * BYTES_A_PIXEL)
    cells = {"train": train, "validation": validation, "test": test}
    if min(cells.values()) < len(HEP2.classes):
        wanted = ", ".join(f"{count} {split}" for split, count in cells.items())
        raise BadInput(f"cannot draw {wanted} cells; each set needs at least {len(HEP2.classes)}, one of each class")
    folder = Path(folder)
    request = {"task": HEP2.name, **cells, "size": size, "seed": seed, "drawing": DRAWING}
    require_folder(folder, request, sum(cells.values()))  # before a table that may not fit into the memory
    table = cell_table(cells, seed)
    pictures = []
    for specimen, rows in table.groupby("specimen"):
        number, generator = HEP2.classes.index(rows["Image class"].iloc[0]), default_rng([seed, 1, specimen])
        draw = partial(draw_specimen, number, len(rows), size, generator)
        pictures.append(([folder / file for file in rows["file"]], draw))
    labels = table.loc[table["split"] != "test", ["Image ID", "Image class"]]
    write_drawing(folder, request, pictures, "specimen", {"gt_training.csv": labels})


def cell_table(cells: dict[str, int], seed: int) -> pd.DataFrame:
    """Return the columns Image ID, Image class, split, specimen and file; `cells` says how many rows each split has."""
    generator, blocks, specimens = default_rng([seed, 0]), [], 0
    counts = np.stack([class_counts(count) for count in cells.values()], axis=1)
    for name, per_split in zip(HEP2.classes, counts, strict=True):
        specimen = specimens + np.arange(per_split.sum()) // CELLS_PER_SPECIMEN
        specimens = specimen[-1] + 1
        split = generator.permutation(np.repeat(list(cells), per_split))
        blocks.append(pd.DataFrame({"Image class": name, "split": split, "specimen": specimen}))
    table = pd.concat(blocks, ignore_index=True)
    table.insert(0, "Image ID", (table.index + 1).astype(str).str.zfill(5))
    return table.assign(file=table["split"] + "/" + table["Image class"] + "/" + table["Image ID"] + ".png")


def class_counts(cells: int) -> np.ndarray:
    """Return how many of six or more cells each class has, int64 [6]: the real shares by largest remainders, at least 1."""
    shares = cells * np.array(CLASS_COUNTS) / sum(CLASS_COUNTS)
    counts = shares.astype(np.int64)
    counts[np.argsort(counts - shares)[: cells - counts.sum()]] += 1
    while counts.min() == 0:
        counts[[counts.argmax(), counts.argmin()]] += -1, 1
    return counts


def draw_specimen(number: int, count: int, size: int, generator: Generator) -> Iterator[np.ndarray]:
    """Draw `count` cells of one specimen of class `number`, uint8 [size, size] each."""
    coarseness, blur = generator.uniform(0, 1), generator.uniform(0.008, 0.028) * size
    # Haze and fog are stray light of the nucleus and of the cytoplasm, relative to the brightest pixel of the pattern.
    photons_at_most, haze, fog = np.exp(generator.uniform(np.log([20, 0.04, 0.03]), np.log([600, 1.6, 0.6])))
    for _ in range(count):
        field = _grow_cells(size, generator)
        pattern = blurred(PATTERNS[number](field, coarseness, generator), blur)
        of_nucleus, of_cytoplasm = np.array([haze, fog] * generator.uniform(0.6, 1.4, 2), np.float32)
        stray = of_nucleus * field.nuclei + of_cytoplasm * endoplasmic_reticulum(field, generator)
        light = pattern / pattern.max() + blurred(stray, 1.5 * blur) + np.float32(0.02)
        recorded = photons(light * np.float32(photons_at_most / light.max()), generator)
        yield cv2.normalize(recorded, None, 0, 255, cv2.NORM_MINMAX, cv2.CV_8U)  # type: ignore[call-overload]


def _grow_cells(size: int, generator: Generator) -> Field:
    """Return a cell in the middle, and often a second one that shows at the edge."""
    unit = size * generator.uniform(0.85, 1.05)
    centers = [size * generator.uniform(0.45, 0.55, 2)]
    if generator.uniform() < 0.6:
        centers.append(centers[0] + generator.uniform(0.9, 1.1) * unit * DIRECTIONS[generator.integers(len(DIRECTIONS))])
    cells = tuple(_cell(label, center, unit, generator) for label, center in enumerate(centers, 1))
    labels = (filled(size, [cell.outline for cell in cells]) > 0.5).astype(np.uint8)
    return field_of(size, unit, cells, labels, labels, generator)


def _cell(label: int, center: np.ndarray, unit: float, generator: Generator) -> Cell:
    """Return a cell whose nucleus is an ellipse, turned at random."""
    longer, angle = generator.uniform(1, 1.15), generator.uniform(0, np.pi)
    turned = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    reach = 0.39 * unit * (DIRECTIONS * [longer, 1 / longer]) @ turned
    count = generator.integers(2, 7)
    turn, depth = (np.arange(count) + generator.uniform(0, 0.6, count)) / count, generator.uniform(0.2, 0.65, (count, 1))
    places = center + depth * reach[(turn * len(reach)).astype(int)]
    nucleoli = np.column_stack([places, generator.uniform(0.03, 0.09, count) * unit])
    fibres = np.empty((0, 2, 2))
    return Cell(label, center + 1.9 * reach, center + reach, center, nucleoli, generator.uniform(0, 1), fibres, heading=0)


def _centromere(field: Field, coarseness: float, generator: Generator) -> np.ndarray:
    """Some forty small dots, all over the nucleus."""
    points = []
    for cell in field.cells:
        count = generator.integers(28, 55)
        points.append(cell.at(generator.uniform(0, 1, count), np.sqrt(generator.uniform(0, 0.85, count)) - 1))
    return dots(field.size, np.concatenate(points), (0.008 + 0.012 * coarseness) * field.unit)


def _grained(
    light: np.ndarray, field: Field, amplitude: float, length: float, generator: Generator, least: float = 0
) -> np.ndarray:
    return light * np.clip(1 + amplitude * noise(field.size, length * field.unit, generator), least, 2)


PATTERNS: tuple[Callable[[Field, float, Generator], np.ndarray], ...] = (  # the index is the class number
    _centromere,
    # Golgi: ribbons next to the nucleus.
    lambda field, coarseness, generator: blurred(golgi_apparatus(field, generator), 0.03 * coarseness * field.unit),
    # Homogeneous: all of the nucleus, with little grain or none.
    lambda field, coarseness, generator: _grained(field.nuclei, field, 0.2 * coarseness, 0.05, generator),
    # Nuclear membrane: a ring, stronger here and weaker there.
    lambda field, _, generator: _grained(nuclear_membrane(field, generator), field, 0.4, 0.5, generator, 0.2),
    # Nucleolar: a few round spots in the nucleus, smooth or grained.
    lambda field, coarseness, generator: _grained(field.nucleoli, field, 0.4 * coarseness, 0.05, generator, 0.2),
    # Speckled: grain all over the nucleus but in the nucleoli.
    lambda field, coarseness, generator: (
        _grained(field.nuclei, field, 0.35, 0.05 + 0.09 * coarseness, generator) * (1 - 0.7 * field.nucleoli)
    ),
)


def contact_sheet(path: Path, size: int = 78, seed: int = 0) -> None:
    """Write a picture with a column for each class: under its name a cell each of some specimens, `size` pixels wide."""
    check(size, seed, BYTES_A_PIXEL + 4 * SPECIMENS_SHOWN * len(HEP2.classes))  # in a few copies
    tiles = (
        captioned(name, next(draw_specimen(number, 1, size, default_rng([seed, 2, number, specimen]))))
        for specimen in range(SPECIMENS_SHOWN)
        for number, name in enumerate(HEP2.classes)
    )
    write_sheet(path, tiles, columns=len(HEP2.classes))
