"""Find copies among images: exact ones, and near-exact ones such as recompressed, resized or brightened images.

Near-exact copies are found in two steps. Images whose coarse pictures, 16 pixels wide without what varies slowly, have a
cosine similarity above `COARSE_SIMILARITY` are candidates. Of these, copies are those whose fine detail, a difference of
Gaussians of sigma 0.75 and 1.5 on 48 pixels, has a normalised cross-correlation above `FINE_SIMILARITY` at some shift of up
to 3 of these pixels. Neither number changes with brightness or contrast.

Both thresholds were measured on the 10,876 HEp-2 cells of the I3A training and validation sets and on 245 real and drawn
fields of view (docs/pages/results.md has the figures). Pairs of two classes cannot be copies; their fine similarity is at
most 0.79. Few pairs of any kind have one from 0.80 to 0.85. JPEG of quality 75, a resize to 50 %, a brightness of 30 % and a
crop of 1 % keep 0.87 or more. Mirrored and turned copies are not found: the search would take eight times as long.
"""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

from hpa.data.images import read_image, resized
from hpa.data.intensity import measure
from hpa.data.layout import EXTERNAL, external_sets, find_files, find_folders
from hpa.data.parallel import map_in_threads
from hpa.data.tables import SampleTable, read_ids, read_labelled, table_next_to
from hpa.errors import BadInput, refuse, shown
from hpa.tasks import Task

SIDE = 48  # of the fine pictures, in pixels
COARSE_SIDE = 16
COARSE_SIMILARITY = 0.85
FINE_SIMILARITY = 0.83
LARGEST_SHIFT = 3  # in fine pixels
FLAT = 0.05  # grey levels; a channel whose detail deviates less shows nothing to compare
CLASHES_SHOWN = 10
CLASH_LETTERS = 1000  # of a group of thousands
LARGE_GROUP = 30  # pictures; of a larger group only some pairs are compared: all would take hours if all images look alike
BLOCK = 2048  # images that are compared with as many others at a time; bounds the memory


@dataclass(frozen=True)
class Copies:
    """Which images are copies of which.

    Attributes:
        group: int64 array [n], numbers from 0: the same for all copies of an image, and for copies of these. An image
            without copies is alone in its group.
        picture: int64 array [n], numbers from 0: the same for images with the same pixels.
        near: int64 array [pairs, 2] of pictures that are near-exact copies of each other. All such pairs are there, except
            in groups of more than `LARGE_GROUP` pictures, where they only connect the group.
    """

    group: np.ndarray
    picture: np.ndarray
    near: np.ndarray


def read_sets(data: Path, task: Task) -> dict[str, SampleTable]:
    """Read the samples of all sets in a data folder; raise BadInput if there is none, or a table is faulty.

    The test set may lack labels. An external set without labels, as a killed download leaves it, is ignored.
    """
    external, sets = external_sets(data), {}
    for name in ("train", *external, "validation", "test"):
        folder = data / name
        labelled = table_next_to(folder).exists() or (task.kind.exclusive and folder.is_dir() and bool(find_folders(folder)))
        if folder.is_dir() and (labelled or name not in external):
            read = labelled or name != "test"
            sets[name] = read_labelled(data / name, task) if read else SampleTable(read_ids(data, task))
    if not sets:
        raise BadInput(f"{data}: no train/, {EXTERNAL}/, validation/ or test/ in it; name the folder that holds them")
    return sets


def copies_table(data: Path, sets: dict[str, SampleTable], task: Task) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find the copies within and across the sets of a data folder; raise BadInput if files are missing or cannot be used.

    Returns:
        A frame with a row for every sample that has a copy, group by group: `Id`; `group`, from 0; `set`; `kind`, "exact"
        if another sample has the same pixels, else "near"; `label`, the class names, or "" where unknown; and `files`, the
        channels' files. And the frame of `count_pairs`.
    """
    files = [sample for name, table in sets.items() for sample in find_files(data / name, table.ids, task, whole=True)]
    labels = [[""] * len(each) if each.targets is None else name_labels(each.targets, task) for each in sets.values()]
    copies = find_copies(*read_fingerprints(files, task))
    set_of_row = np.repeat(np.arange(len(sets)), [len(table) for table in sets.values()])
    frame = pd.DataFrame(
        {
            "Id": np.concatenate([table.ids for table in sets.values()]),
            "group": copies.group,
            "set": np.array(list(sets))[set_of_row],
            "kind": np.where(np.bincount(copies.picture)[copies.picture] > 1, "exact", "near"),
            "label": np.concatenate(labels),
            "files": files,
        }
    )
    frame = frame[frame["group"].duplicated(keep=False)].sort_values("group", kind="stable", ignore_index=True)
    return frame.assign(group=pd.factorize(frame["group"])[0]), count_pairs(copies, list(sets), set_of_row)


def count_pairs(copies: Copies, sets: Sequence[str], set_of_row: np.ndarray) -> pd.DataFrame:
    """Count the pairs of images that are copies of each other, not only of a third.

    `set_of_row`, integers [n], has the set of each image, a number into the names in `sets`.

    Returns:
        A frame with the columns `kind`, "exact" for the same pixels, else "near"; `sets`, such as "within train" or "train +
        validation"; and `pairs` of images. In large groups (see `Copies`) not all near pairs are counted.
    """
    images = np.zeros((copies.picture.max() + 1, len(sets)), np.int64)  # of each picture in each set
    np.add.at(images, (copies.picture, set_of_row), 1)
    one, other = images[copies.near].transpose(1, 0, 2)
    exact, near = images.T @ images - np.diag(images.sum(axis=0)), one.T @ other + other.T @ one
    for ordered in (exact, near):  # [sets, sets] pairs with the first image in one set and the second in the other
        ordered[np.diag_indices(len(sets))] //= 2
    rows = [
        (kind, f"within {sets[first]}" if first == second else f"{sets[first]} + {sets[second]}", ordered[first, second])
        for kind, ordered in (("exact", exact), ("near", near))
        for first, second in combinations_with_replacement(range(len(sets)), 2)
    ]
    pairs = pd.DataFrame(rows, columns=["kind", "sets", "pairs"])
    return pairs[pairs["pairs"] > 0].reset_index(drop=True)


def label_clashes(copies: pd.DataFrame) -> dict[int, str]:
    """Say which sample has which label, for every group of `copies_table` whose known labels differ."""
    labelled = copies[copies["label"] != ""]
    clashing = labelled[labelled.groupby("group")["label"].transform("nunique") > 1].groupby("group")
    return {group: ", ".join(f"{row.set} {row.Id} {row.label}" for row in rows.itertuples()) for group, rows in clashing}


def name_labels(targets: np.ndarray, task: Task) -> list[str]:
    """Return the names of the classes of each row of targets, separated by ` + `."""
    return [" + ".join(task.classes[number] for number in np.flatnonzero(row)) for row in targets]


def read_fingerprints(files: Sequence[Sequence[Path]], task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Decode every sample's channel files once, on all cores; raise BadInput naming all that cannot be read.

    Returns the digests, bytes [n], and the thumbnails, uint8 [n, SIDE, SIDE, C]: 2.3 kB a channel.
    """
    ranges = measure("images", files, task)
    thumbnails = np.empty((len(files), SIDE, SIDE, len(task.channels)), np.uint8)

    def read(row: int) -> bytes:
        image = read_image(files[row], task, ranges=ranges)
        thumbnails[row] = thumbnail(image)
        return digest(image)

    faults: list[str] = []
    digests = list(map_in_threads(read, range(len(files)), "reading", faults, name=lambda row: f"{files[row][0].parent}: "))
    refuse("images", sorted(faults))
    return np.array(digests), thumbnails


def digest(image: np.ndarray) -> bytes:
    """Return 32 hexadecimal digits, the BLAKE2b hash of an image's shape and pixels."""
    code = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    code.update(np.ascontiguousarray(image).data)
    return code.hexdigest().encode()  # no NUL at its end, which NumPy would drop


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return an image, uint8 [H, W, C], as uint8 [SIDE, SIDE, C]."""
    return np.dstack([resized(channel, SIDE) for channel in cv2.split(image)])


def find_copies(digests: np.ndarray, thumbnails: np.ndarray) -> Copies:
    """Find the groups of copies; a copy of a copy is in the same group. An image of one even tone has exact copies only."""
    _, first, picture = np.unique(digests, return_index=True, return_inverse=True)
    near = near_pairs(thumbnails[first])
    graph = coo_array((np.ones(len(near), bool), near.T), (len(first), len(first)))
    group = connected_components(graph, directed=False)[1][picture]
    return Copies(pd.factorize(group)[0], picture, near)


def near_pairs(thumbnails: np.ndarray) -> np.ndarray:
    """Return the near-exact copies among thumbnails, int64 [pairs, 2], the lower row first.

    Two images that are in one group of more than `LARGE_GROUP` already are not compared.
    """
    rows = len(thumbnails)
    coarse = np.array([_coarse(image) for image in thumbnails])
    group, sizes = np.arange(rows), np.ones(rows, np.int64)  # the group of each row, and the size of each group
    found = []
    blocks = list(combinations_with_replacement(range(0, rows, BLOCK), 2))
    for first, second in tqdm(blocks, unit="block", desc="comparing", disable=None):
        similar = coarse[first : first + BLOCK] @ coarse[second : second + BLOCK].T > COARSE_SIMILARITY
        details = functools.cache(lambda row: _detail(thumbnails[row]))
        for one in (np.flatnonzero(similar.any(axis=1)) + first).tolist():
            others = np.flatnonzero(similar[one - first]) + second
            others = others[others > one]
            others = others[(group[others] != group[one]) | (sizes[group[one]] <= LARGE_GROUP)]
            for other in others.tolist():
                together = group[one] == group[other]
                if together and sizes[group[one]] > LARGE_GROUP:
                    continue
                if _fine_similarity(details(one), details(other)) > FINE_SIMILARITY:
                    found.append((one, other))
                    if not together:
                        sizes[group[one]] += sizes[group[other]]
                        group[group == group[other]] = group[one]
    return np.array(found, np.int64).reshape(-1, 2)


def _coarse(image: np.ndarray) -> np.ndarray:
    """Return a unit vector, float32 [COARSE_SIDE^2 C], of an image; zeros if it is even."""
    shrunk = cv2.resize(image.astype(np.float32), (COARSE_SIDE, COARSE_SIDE), interpolation=cv2.INTER_AREA)
    channels = (shrunk - cv2.GaussianBlur(shrunk, (0, 0), 1.5)).reshape(COARSE_SIDE**2, -1)
    channels -= channels.mean(axis=0)
    # With the root of its norm a channel counts as much as in `_fine_similarity`: as its contrast, not the square of it.
    channels /= np.sqrt(np.maximum(np.linalg.norm(channels, axis=0), FLAT))
    return channels.ravel() / np.float32(max(float(np.linalg.norm(channels)), FLAT))


def _detail(image: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Return the fine detail, float32 [SIDE, SIDE], and its standard deviation for every channel of an image."""
    channels = [channel.astype(np.float32) for channel in cv2.split(image)]
    details = [cv2.GaussianBlur(channel, (0, 0), 0.75) - cv2.GaussianBlur(channel, (0, 0), 1.5) for channel in channels]
    return [(detail, float(_inner(detail).std())) for detail in details]


def _inner(detail: np.ndarray) -> np.ndarray:
    return detail[LARGEST_SHIFT:-LARGEST_SHIFT, LARGEST_SHIFT:-LARGEST_SHIFT]


def _fine_similarity(image: list[tuple[np.ndarray, float]], other: list[tuple[np.ndarray, float]]) -> float:
    """Return the correlation, -1 to 1, at the best shift; all channels shift alike and count as their contrast."""
    total, weights = np.zeros((2 * LARGEST_SHIFT + 1,) * 2), 0.0
    for (detail, contrast), (other_detail, other_contrast) in zip(image, other, strict=True):
        weights += contrast + other_contrast
        if min(contrast, other_contrast) > FLAT:
            correlation = cv2.matchTemplate(other_detail, _inner(detail), cv2.TM_CCOEFF_NORMED)
            total += (contrast + other_contrast) * correlation
    return float(total.max() / weights) if weights else 0.0


def describe(copies: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """Return the tables of `copies_table` for people, and the groups whose labels clash."""
    if copies.empty:
        return "no copies"
    lines = [pairs.to_string(index=False)]
    large = copies["group"].value_counts().gt(LARGE_GROUP).sum()
    if large and copies["kind"].eq("near").any():
        lines.append(f"at least: {large} groups have more than {LARGE_GROUP} images, of which not every two were compared")
    lines.append(f"{copies['group'].nunique()} groups of copies, {len(copies)} images in all")
    clashes = label_clashes(copies)
    if not clashes:
        return "\n".join([*lines, "all copies that have labels agree in them"])
    first = [f"  {group}: {shown(clash, CLASH_LETTERS)}" for group, clash in list(clashes.items())[:CLASHES_SHOWN]]
    return "\n".join([*lines, f"{len(clashes)} groups in which labels clash", *first])
