"""The geometry of drawn cells, and the brushes to draw in them.

Each cell has its own coordinates: `turn`, the direction from its nucleus (0 to 1 is once round), and `depth`, which is -1 at
the centre of the nucleus, 0 at the nuclear membrane and 1 at the plasma membrane. Shapes in these coordinates bend round the
nucleus and stay inside the cell. Lengths are in units of `Field.unit`, the typical radius of a cell.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import cv2
import numpy as np
from numpy.random import Generator


def unit_vectors(angle: np.ndarray | float) -> np.ndarray:
    """Return the vectors [..., 2] of length 1 in the directions of some angles [...] in radians."""
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


VERTICES = 96
TURNS = np.arange(VERTICES) / VERTICES
DIRECTIONS = unit_vectors(2 * np.pi * TURNS)
SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Cell:
    """One cell between divisions; points are float64 (x, y) in pixels of the field."""

    label: int  # its number in `Field.labels`
    outline: np.ndarray  # [VERTICES, 2], the vertex i lies in the direction of i / VERTICES turns
    nucleus: np.ndarray  # [VERTICES, 2], as the outline
    center: np.ndarray  # [2], of the nucleus
    nucleoli: np.ndarray  # [n, 3], x, y and radius
    pole: float  # the turn of the microtubule organizing center
    fibres: np.ndarray  # [n, points, 2], microtubules from the organizing center outward
    heading: float  # the direction of the actin fibres, in radians

    def at(self, turn: np.ndarray | float, depth: np.ndarray | float) -> np.ndarray:
        """Return the points [..., 2] at these coordinates."""
        place = np.asarray(turn) % 1 * VERTICES
        before = place.astype(int) % VERTICES
        after, share = (before + 1) % VERTICES, (place % 1)[..., None]
        membrane = self.nucleus[before] * (1 - share) + self.nucleus[after] * share
        edge = self.outline[before] * (1 - share) + self.outline[after] * share
        depth = np.asarray(depth)[..., None]
        return membrane + np.maximum(depth, 0) * (edge - membrane) + np.minimum(depth, 0) * (membrane - self.center)


@dataclass(frozen=True)
class Field:
    """A field of view; maps are [size, size]."""

    size: int  # in pixels
    unit: float  # the typical radius of a cell in pixels
    cells: tuple[Cell, ...]  # those between divisions
    labels: np.ndarray  # uint8, the number of the cell at each pixel, 0 outside of cells
    nuclei: np.ndarray  # float32 in [0, 1]
    nucleoli: np.ndarray  # float32 in [0, 1]
    rim: np.ndarray  # float32, the distance to the next cell edge in units; 0 outside of cells
    away: np.ndarray  # float32, the distance to the next nucleus in units; 0 in nuclei
    reticulum: np.ndarray  # float32 in [0, 1], the net of the endoplasmic reticulum
    spindle: np.ndarray | None  # [2, 2], the two poles of the spindle of a dividing cell
    bridge: np.ndarray | None  # [2, 2], the two ends of the bridge between two daughter cells


def grow_field(
    size: int,
    generator: Generator,
    crowded: bool = False,
    daughters: bool = False,
    dividing: bool = False,
    dented: bool = False,
) -> Field:
    """Return a field, `size` pixels wide, of several cells; neither they nor their nuclei overlap.

    If `crowded`, there are more cells, each touching another. Two can be `daughters` with a bridge between them. One can be
    `dividing`: round, with a spindle and no nucleus. Nuclei can be `dented` towards the organizing center.
    """
    unit = size * generator.uniform(0.21, 0.27)
    centers, bridge = _centers(size, unit, crowded, daughters, generator)
    radii = np.full(len(centers), unit * (1.15 if crowded else 1.0))
    radii[: 2 if daughters else 0] = 0.72 * unit
    mother = (len(centers) - 1 if daughters else 0) if dividing else None
    spindle = None
    if dividing:
        radii[mother] = 0.72 * unit
        spindle = centers[mother] + np.outer([-0.45, 0.45], unit_vectors(generator.uniform(0, np.pi))) * unit
    roughness = np.where(radii < unit, 0.04, 0.13)
    outlines = [_outline(centers, index, radii[index], roughness[index], generator) for index in range(len(centers))]
    labels = np.zeros((size, size), np.uint8)
    fixed = _fixed(np.array(outlines))
    for index, outline in enumerate(fixed):
        cv2.fillPoly(labels, [outline], index + 1, cv2.LINE_8, SUBPIXEL_BITS)
    inner = np.minimum(labels, 1)
    cv2.polylines(inner, list(fixed), True, 0, 1, cv2.LINE_8, SUBPIXEL_BITS)
    cells = tuple(
        _cell(index + 1, centers[index], outline, unit, dented, generator)
        for index, outline in enumerate(outlines)
        if index != mother
    )
    return field_of(size, unit, cells, labels, inner, generator, spindle, bridge)


def field_of(
    size: int,
    unit: float,
    cells: tuple[Cell, ...],
    labels: np.ndarray,
    inner: np.ndarray,
    generator: Generator,
    spindle: np.ndarray | None = None,
    bridge: np.ndarray | None = None,
) -> Field:
    """Return a field of some cells with the maps that follow from them.

    `labels` and `inner` are uint8 [size, size]: the number of the cell that a pixel lies in, and 1 inside any cell.
    """
    nuclei = filled(size, [cell.nucleus for cell in cells])
    return Field(
        size=size,
        unit=unit,
        cells=cells,
        labels=labels,
        nuclei=nuclei,
        nucleoli=discs(size, np.concatenate([cell.nucleoli for cell in cells])),
        rim=cv2.distanceTransform(inner, cv2.DIST_L2, 3) / np.float32(unit),
        away=cv2.distanceTransform((nuclei < 0.5).astype(np.uint8), cv2.DIST_L2, 3) / np.float32(unit),
        reticulum=np.exp(-np.square(noise(size, 0.1 * unit, generator) / 0.45)),  # ridges along the zero crossings
        spindle=spindle,
        bridge=bridge,
    )


def _centers(
    size: int, unit: float, crowded: bool, daughters: bool, generator: Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Place the cells, the first near the middle; daughters come first, with the ends of their bridge."""
    middle = size * generator.uniform(0.4, 0.6, 2)
    placed, bridge = [middle], None
    if daughters:
        along = unit * unit_vectors(generator.uniform(0, 2 * np.pi))
        placed, bridge = [middle - along, middle + along], middle + np.outer([-0.34, 0.34], along)
    wanted = generator.integers(5, 7) if crowded else generator.integers(3, 6)
    for candidate in size * generator.uniform(0.02, 0.98, (40, 2)):
        if crowded:  # next to another cell
            candidate = placed[generator.integers(len(placed))] + 1.35 * unit * unit_vectors(generator.uniform(0, 2 * np.pi))
        if len(placed) < wanted and np.linalg.norm(np.array(placed) - candidate, axis=1).min() > 1.3 * unit:
            placed.append(candidate)
    return np.array(placed), bridge


def _outline(centers: np.ndarray, index: int, radius: float, roughness: float, generator: Generator) -> np.ndarray:
    """Return the outline [VERTICES, 2] of a cell, which ends where another centre is nearer."""
    reach = radius * _wobble(roughness, generator)
    for other in np.delete(centers, index, axis=0) - centers[index]:
        distance = np.linalg.norm(other)
        facing = DIRECTIONS @ other / distance
        reach = np.minimum(reach, np.where(facing > 0.05, 0.497 * distance / np.maximum(facing, 0.05), np.inf))
    return centers[index] + DIRECTIONS * reach[:, None]


def _cell(label: int, middle: np.ndarray, outline: np.ndarray, unit: float, dented: bool, generator: Generator) -> Cell:
    pole, heading = generator.uniform(0, 1), generator.uniform(0, np.pi)
    center = middle + generator.uniform(-0.07, 0.07, 2) * unit
    reach = generator.uniform(0.36, 0.42) * unit * _wobble(0.05, generator)
    if dented:
        aside = (TURNS - pole + 0.5) % 1 - 0.5
        reach *= 1 - 0.5 * np.exp(-np.square(aside / 0.1))
    nucleus = center + DIRECTIONS * reach[:, None]
    bare = Cell(label, outline, nucleus, center, np.empty((0, 3)), pole, np.empty((0, 2, 2)), heading)
    count = generator.integers(2, 5)
    spots = (np.arange(count) + generator.uniform(0, 0.5, count)) / count + pole
    places = bare.at(spots, generator.uniform(-0.65, -0.4, count))
    nucleoli = np.column_stack([places, generator.uniform(0.07, 0.11, count) * unit])
    # A fibre is a quadratic Bezier curve from the organizing center to some place in the cell, bent round the nucleus.
    side, height, depth = generator.uniform([[-0.5], [0.1], [0.5]], [[0.5], [0.8], [1.0]], (3, 90))[..., None]
    start = bare.at(np.full((90, 1), pole), np.full((90, 1), 0.15))
    bend = bare.at(pole + 0.5 * side, height)
    end = bare.at(pole + side, depth)
    along = np.linspace(0, 1, 16)[:, None]
    fibres = (1 - along) ** 2 * start + 2 * along * (1 - along) * bend + along**2 * end
    fibres += 0.012 * unit * along * np.cumsum(generator.standard_normal(fibres.shape), axis=1)
    return replace(bare, nucleoli=nucleoli, fibres=fibres)


def _wobble(roughness: float, generator: Generator) -> np.ndarray:
    """Return factors [VERTICES] around 1 that make a circle an irregular closed curve; `roughness` 0 gives an ellipse."""
    waves = np.arange(2, 6)
    amplitudes = generator.normal(0, roughness, 4) * 2 / waves
    amplitudes[0] += generator.uniform(0.03, 0.1)
    phases = generator.uniform(0, 1, 4)
    return np.clip(1 + amplitudes @ np.cos(2 * np.pi * waves[:, None] * (TURNS + phases[:, None])), 0.6, 1.5)


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def filled(size: int, outlines: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Fill closed outlines [n, points, 2]. Returns float32 [size, size] in [0, 1]."""
    canvas = np.zeros((size, size), np.uint8)
    for outline in _fixed(np.asarray(outlines)):
        cv2.fillPoly(canvas, [outline], 255, cv2.LINE_AA, SUBPIXEL_BITS)
    return canvas * np.float32(1 / 255)


def strokes(size: int, lines: Sequence[np.ndarray] | np.ndarray, width: float, closed: bool = False) -> np.ndarray:
    """Draw curves [n, points, 2], `width` pixels wide. Returns float32 [size, size] in [0, 1].

    They come in three brightnesses, which add up where curves cross.
    """
    total, curves = np.zeros((size, size), np.float32), list(_fixed(np.asarray(lines)))
    for part, brightness in enumerate((0.5, 0.3, 0.2)):
        canvas = np.zeros((size, size), np.uint8)
        cv2.polylines(canvas, curves[part::3], closed, 255, max(1, round(width)), cv2.LINE_AA, SUBPIXEL_BITS)
        total += canvas * np.float32(brightness / 255)
    return total


def discs(size: int, circles: np.ndarray) -> np.ndarray:
    """Fill circles [n, 3], x, y and radius in pixels. Returns float32 [size, size] in [0, 1]."""
    return filled(size, circumferences(circles))


def circumferences(circles: np.ndarray) -> np.ndarray:
    """Return the closed curves [n, points, 2] of circles [n, 3], x, y and radius."""
    return circles[:, None, :2] + circles[:, None, 2:] * DIRECTIONS[::4]


def dots(size: int, points: np.ndarray, sigma: float) -> np.ndarray:
    """Draw Gaussian spots of equal brightness at points [n, 2], also between pixels. Returns float32 [size, size]."""
    canvas = np.zeros((size + 1, size + 1), np.float32)
    points = points[np.all((points >= 0) & (points < size - 1), axis=1)]
    corner = points.astype(int)
    share = points - corner
    for right, down in product((0, 1), repeat=2):
        weight = np.abs(1 - right - share[:, 0]) * np.abs(1 - down - share[:, 1])
        np.add.at(canvas, (corner[:, 1] + down, corner[:, 0] + right), weight)
    return blurred(canvas[:size, :size], sigma) * np.float32(2 * np.pi * max(sigma, 0.5) ** 2)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Blur a float32 image with a Gaussian of `sigma` pixels."""
    return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3))


def noise(size: int, length: float, generator: Generator) -> np.ndarray:
    """Return smooth noise, float32 [size, size] of unit variance, whose bumps are about `length` pixels across."""
    grid = max(4, int(np.ceil(2 * size / length)))
    coarse = blurred(generator.standard_normal((grid, grid), np.float32), 1.0)
    fine = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return fine / fine.std()
