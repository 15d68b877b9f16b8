"""The patterns of the 28 classes in drawn cells.

They follow "A subcellular map of the human proteome" (Thul et al., Science 356, eaal3321, 2017). A pattern is a function of
a field and a generator. It returns light, float32 [size, size]; scales differ between patterns.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.random import Generator

from hpa.drawn.cells import Cell, Field, blurred, circumferences, discs, dots, noise, strokes, unit_vectors

Count = tuple[int, int]  # the lowest, and the highest plus 1
Range = tuple[float, float]


def cytoplasm(field: Field) -> np.ndarray:
    """Return the cells without their nuclei: thin at the edge, thick inside. float32 [size, size] in [0, 1]."""
    return (1 - np.exp(field.rim / np.float32(-0.12))) * (1 - field.nuclei)


def nucleoplasm(field: Field, generator: Generator) -> np.ndarray:
    """Fills the nucleus and spares the nucleoli."""
    texture = 1 + 0.15 * noise(field.size, 0.06 * field.unit, generator)
    return field.nuclei * (1 - 0.85 * field.nucleoli) * texture


def nuclear_membrane(field: Field, generator: Generator) -> np.ndarray:
    """A thin ring."""
    return strokes(field.size, [cell.nucleus for cell in field.cells], 0.035 * field.unit, closed=True) + 0.05 * field.nuclei


def nucleoli(field: Field, generator: Generator) -> np.ndarray:
    """Two to four bright round spots in the nucleus."""
    return field.nucleoli + 0.08 * field.nuclei


def fibrillar_center(field: Field, generator: Generator) -> np.ndarray:
    """Clusters of tiny dots within the nucleoli."""
    clusters = [
        np.array([x, y]) + 0.5 * radius * generator.standard_normal((generator.integers(4, 8), 2))
        for x, y, radius in np.concatenate([cell.nucleoli for cell in field.cells])
    ]
    return dots(field.size, np.concatenate(clusters), 0.016 * field.unit) + 0.06 * field.nuclei


def nuclear_speckles(field: Field, generator: Generator) -> np.ndarray:
    """About twenty irregular blobs in the nucleus."""
    middles = np.concatenate([_scattered(cell, generator, 22, -0.95, -0.12) for cell in field.cells])
    blobs = [middles + 0.022 * field.unit * generator.standard_normal(middles.shape) for _ in range(4)]
    return dots(field.size, np.concatenate(blobs), 0.02 * field.unit) * (1 - field.nucleoli) + 0.3 * field.nuclei


def nuclear_bodies(field: Field, generator: Generator) -> np.ndarray:
    """Few small sharp dots in the nucleus."""
    return _bodies(field, generator, (4, 8), (-0.85, -0.15), (0.03, 0.045)) + 0.08 * field.nuclei


def endoplasmic_reticulum(field: Field, generator: Generator) -> np.ndarray:
    """A net that fades outward."""
    return cytoplasm(field) * (0.2 + 0.8 * field.reticulum) * np.exp(field.away / np.float32(-0.35))


def golgi_apparatus(field: Field, generator: Generator) -> np.ndarray:
    """A clump of ribbons on one side of the nucleus."""
    ribbons = []
    for cell in field.cells:
        count = generator.integers(9, 14)
        start = cell.pole + generator.normal(0, 0.06, count)
        ribbons += _arcs(cell, generator, start, generator.uniform(0.03, 0.08, count), generator.uniform(0.05, 0.45, count))
    return strokes(field.size, ribbons, 0.05 * field.unit) + 0.02 * cytoplasm(field)


def peroxisomes(field: Field, generator: Generator) -> np.ndarray:
    """Very many tiny dots all over the cytoplasm."""
    points = [_scattered(cell, generator, generator.integers(110, 160), 0.05, 0.95) for cell in field.cells]
    return dots(field.size, np.concatenate(points), 0.012 * field.unit)


def endosomes(field: Field, generator: Generator) -> np.ndarray:
    """Dots of middle size in the cytoplasm."""
    return _bodies(field, generator, (20, 30), (0.05, 0.75), (0.022, 0.04)) + 0.04 * cytoplasm(field)


def lysosomes(field: Field, generator: Generator) -> np.ndarray:
    """Larger and fewer spots, crowded around one side of the nucleus."""
    return _bodies(field, generator, (12, 18), (0.08, 0.45), (0.045, 0.075), spread=0.13) + 0.06 * cytoplasm(field)


def intermediate_filaments(field: Field, generator: Generator) -> np.ndarray:
    """Wavy bundles that cage the nucleus."""
    bundles = []
    for cell in field.cells:
        start, depth = generator.uniform(0, 1, 34), 0.03 + 0.5 * generator.beta(1, 1.6, 34)
        bundles += _arcs(cell, generator, start, generator.uniform(0.12, 0.35, 34), depth, waves=0.09)
    return strokes(field.size, bundles, 0.02 * field.unit) + 0.03 * cytoplasm(field)


def actin_filaments(field: Field, generator: Generator) -> np.ndarray:
    """Straight parallel stress fibres through the whole cell."""
    total = 0.04 * cytoplasm(field)
    for cell in field.cells:
        angle = cell.heading + generator.normal(0, 0.04, (26, 1))
        along = unit_vectors(angle[:, 0]) * field.unit
        across = unit_vectors(cell.heading + np.pi / 2) * field.unit
        aside, ahead = generator.uniform([[-1.1], [-0.3]], [[1.1], [0.3]], (2, 26))[..., None]
        middle = cell.center + aside * across + ahead * along
        half = along * generator.uniform(0.4, 1.3, (26, 1))
        fibres = strokes(field.size, np.stack([middle - half, middle + half], axis=1), 0.022 * field.unit)
        total += fibres * (field.labels == cell.label)
    return total


def focal_adhesions(field: Field, generator: Generator) -> np.ndarray:
    """Short bright dashes that point at the cell edge."""
    dashes = []
    for cell in field.cells:
        turn, depth = generator.uniform(0, 1, 34), 0.97 - 0.2 * generator.beta(1, 2, 34)
        inward = depth - generator.uniform(0.12, 0.22, 34)
        dashes += list(np.stack([cell.at(turn, depth), cell.at(turn + generator.normal(0, 0.004, 34), inward)], axis=1))
    return strokes(field.size, dashes, 0.035 * field.unit) + 0.06 * cytoplasm(field)


def microtubules(field: Field, generator: Generator) -> np.ndarray:
    """Long fibres from the organizing center outward."""
    fibres = strokes(field.size, [fibre for cell in field.cells for fibre in cell.fibres], 0.012 * field.unit)
    total = fibres * (1 - 0.75 * field.nuclei) + 0.04 * cytoplasm(field)
    if field.spindle is not None:
        total += mitotic_spindle(field, generator)
    return total


def microtubule_ends(field: Field, generator: Generator) -> np.ndarray:
    """Short comets at the ends of the fibres: a bright head and a fading tail."""
    total = 0.05 * cytoplasm(field)
    fibres = np.concatenate([cell.fibres for cell in field.cells])
    end = generator.integers(6, 14, len(fibres))
    head, before = fibres[np.arange(len(fibres)), end], fibres[np.arange(len(fibres)), end - 1]
    backward = (before - head) / np.maximum(np.linalg.norm(before - head, axis=1, keepdims=True), 1e-6) * field.unit
    for length in (0.05, 0.12):
        total += strokes(field.size, np.stack([head, head + length * backward], axis=1), 0.02 * field.unit)
    return total


def cytokinetic_bridge(field: Field, generator: Generator) -> np.ndarray:
    """A thin bar between two daughter cells with the midbody in its middle."""
    assert field.bridge is not None
    bar = strokes(field.size, [field.bridge], 0.05 * field.unit)
    midbody = dots(field.size, field.bridge.mean(axis=0, keepdims=True), 0.05 * field.unit)
    return bar + midbody + 0.05 * cytoplasm(field)


def mitotic_spindle(field: Field, generator: Generator) -> np.ndarray:
    """Fibres that bulge between two poles, in a dividing cell."""
    assert field.spindle is not None
    along = field.spindle[1] - field.spindle[0]
    across = np.array([-along[1], along[0]])
    share = np.linspace(0, 1, 12)
    bulge = np.linspace(-0.42, 0.42, 15)[:, None] * np.sin(np.pi * share) ** 0.8
    fibres = field.spindle[0] + share[:, None] * along + bulge[..., None] * across
    poles = dots(field.size, field.spindle, 0.035 * field.unit)
    return strokes(field.size, fibres, 0.02 * field.unit) + poles + 0.06 * cytoplasm(field)


def microtubule_organizing_center(field: Field, generator: Generator) -> np.ndarray:
    """One diffuse spot next to the nucleus."""
    return dots(field.size, _organizers(field), 0.085 * field.unit) + 0.06 * cytoplasm(field)


def centrosome(field: Field, generator: Generator) -> np.ndarray:
    """Two sharp dots next to the nucleus."""
    angle = generator.uniform(0, np.pi, len(field.cells))
    aside = 0.055 * field.unit * unit_vectors(angle)
    pairs = np.concatenate([_organizers(field) - aside, _organizers(field) + aside])
    return dots(field.size, pairs, 0.018 * field.unit) + 0.03 * cytoplasm(field)


def lipid_droplets(field: Field, generator: Generator) -> np.ndarray:
    """Hollow circles with a bright rim."""
    return _bodies(field, generator, (16, 26), (0.1, 0.75), (0.05, 0.085), rim=0.02) + 0.04 * cytoplasm(field)


def plasma_membrane(field: Field, generator: Generator) -> np.ndarray:
    """A line all along the cell edge."""
    return _edge(field) * (1 + 0.15 * noise(field.size, 0.3 * field.unit, generator)) + 0.12 * (field.labels > 0)


def cell_junctions(field: Field, generator: Generator) -> np.ndarray:
    """The cell edge, only where two cells touch; patchy."""
    reach = 2 * max(1, round(0.07 * field.unit)) + 1
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    highest = cv2.dilate(field.labels, around)
    lowest = 255 - cv2.dilate(np.where(field.labels > 0, 255 - field.labels, 0).astype(np.uint8), around)
    facing = blurred(((field.labels > 0) & (highest != lowest)).astype(np.float32), 0.02 * field.unit)
    beads = np.clip(1 + 0.5 * noise(field.size, 0.1 * field.unit, generator), 0.2, 2)
    return _edge(field) * facing * beads + 0.02 * cytoplasm(field)


def mitochondria(field: Field, generator: Generator) -> np.ndarray:
    """A fine curly net of short tubes, dense around the nucleus."""
    tubes = []
    for cell in field.cells:
        start = cell.at(generator.uniform(0, 1, 75), 0.05 + 0.75 * generator.beta(1, 1.8, 75))
        bend = generator.normal(0, 0.25, (75, 1)) + generator.normal(0, 0.45, (75, 9))
        angle = generator.uniform(0, 2 * np.pi, (75, 1)) + np.cumsum(bend, axis=1)
        steps = unit_vectors(angle) * generator.uniform(0.02, 0.045, (75, 1, 1)) * field.unit
        tubes += list(start[:, None] + np.cumsum(steps, axis=1))
    return strokes(field.size, tubes, 0.028 * field.unit) * (1 - 0.9 * field.nuclei) + 0.04 * cytoplasm(field)


def aggresome(field: Field, generator: Generator) -> np.ndarray:
    """One big bright blob in the dent of the nucleus."""
    blobs = np.array([[*cell.at(cell.pole, 0.2), generator.uniform(0.13, 0.18) * field.unit] for cell in field.cells])
    return blurred(discs(field.size, blobs), 0.03 * field.unit) + 0.06 * cytoplasm(field)


def cytosol(field: Field, generator: Generator) -> np.ndarray:
    """A smooth fill around a dark nucleus."""
    texture = 1 + 0.06 * noise(field.size, 0.15 * field.unit, generator)
    return (cytoplasm(field) + 0.08 * field.nuclei) * texture


def cytoplasmic_bodies(field: Field, generator: Generator) -> np.ndarray:
    """Few compact dots in the cytoplasm."""
    return _bodies(field, generator, (3, 7), (0.15, 0.75), (0.035, 0.05)) + 0.06 * cytoplasm(field)


def rods_and_rings(field: Field, generator: Generator) -> np.ndarray:
    """Few short rods and small rings."""
    rods = []
    for cell in field.cells:
        middle = _scattered(cell, generator, generator.integers(2, 4), 0.15, 0.7)
        angle = generator.uniform(0, np.pi, len(middle))
        half = 0.13 * field.unit * unit_vectors(angle)
        rods += list(np.stack([middle - half, middle + half], axis=1))
    rings = _bodies(field, generator, (1, 3), (0.2, 0.7), (0.08, 0.11), rim=0.035)
    return strokes(field.size, rods, 0.04 * field.unit) + 0.6 * rings + 0.04 * cytoplasm(field)


PATTERNS: tuple[Callable[[Field, Generator], np.ndarray], ...] = (  # the index is the class number
    nucleoplasm, nuclear_membrane, nucleoli, fibrillar_center, nuclear_speckles, nuclear_bodies,
    endoplasmic_reticulum, golgi_apparatus, peroxisomes, endosomes, lysosomes, intermediate_filaments,
    actin_filaments, focal_adhesions, microtubules, microtubule_ends, cytokinetic_bridge, mitotic_spindle,
    microtubule_organizing_center, centrosome, lipid_droplets, plasma_membrane, cell_junctions, mitochondria,
    aggresome, cytosol, cytoplasmic_bodies, rods_and_rings,
)  # fmt: skip


def _scattered(
    cell: Cell, generator: Generator, count: int | np.integer, inner: float, outer: float, spread: float = 0
) -> np.ndarray:
    """Return random points [count, 2] between two depths: all around, or within about `spread` turns of the pole."""
    turn = cell.pole + generator.normal(0, spread, count) if spread else generator.uniform(0, 1, count)
    return cell.at(turn, np.sqrt(generator.uniform((inner + 1) ** 2, (outer + 1) ** 2, count)) - 1)


def _bodies(
    field: Field,
    generator: Generator,
    count: tuple[int, int],
    depth: Range,
    radius: Range,
    spread: float = 0,
    rim: float = 0,
) -> np.ndarray:
    """Draw round bodies in every cell, as many, as deep and as large as the ranges say; a `rim` makes them hollow."""
    circles = []
    for cell in field.cells:
        points = _scattered(cell, generator, generator.integers(*count), *depth, spread)
        circles.append(np.column_stack([points, generator.uniform(*radius, len(points)) * field.unit]))
    every = np.concatenate(circles)
    if rim:
        return strokes(field.size, circumferences(every), rim * field.unit, closed=True)
    return discs(field.size, every)


def _arcs(
    cell: Cell, generator: Generator, start: np.ndarray, span: np.ndarray, depth: np.ndarray, waves: float = 0.03
) -> list[np.ndarray]:
    """Return wavy curves [20, 2] around the nucleus: from these turns, over this span of turns, at these depths."""
    along = np.linspace(0, 1, 20)
    phase, pitch = generator.uniform(0, 2 * np.pi, (2, len(start), 1))
    sway = waves * np.sin(phase + (4 + 2 * pitch) * along)
    return list(cell.at(start[:, None] + span[:, None] * along, np.maximum(depth[:, None] + sway, 0.02)))


def _organizers(field: Field) -> np.ndarray:
    return np.array([cell.fibres[0, 0] for cell in field.cells])


def _edge(field: Field) -> np.ndarray:
    return np.exp(field.rim / np.float32(-0.035)) * (field.labels > 0)
