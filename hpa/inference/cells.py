"""Single cells: the classes of each cell of a field, by a network that was trained on whole fields.

A network that pools its last maps globally has the features of a cell too: the same maps, pooled over the cell alone. Pooled
over a whole field, features hold the dark between the cells as well, and a network has learned how much of that there is. So
the mean over a cell is mixed with the mean over what is outside of all cells, as in the field: the features of a field
whose cells are all like this one.
"""

import base64
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hpa.data.images import Sample, middle, middle_part, read_sample, write_image
from hpa.data.layout import stamp
from hpa.data.parallel import map_in_threads
from hpa.data.pictures import colours, for_people
from hpa.data.segmentation import BODY, NUCLEUS, find_label_images, read_label_image, segment
from hpa.errors import refuse
from hpa.files import file_digest, remembered, require_outputs, write_csv
from hpa.inference.images import chosen_samples
from hpa.inference.parts import Parts, Place, cut_run
from hpa.inference.predict import common_task, form_of, require_models
from hpa.scoring.blend import thresholds_and_rows
from hpa.tasks import HPA, Task
from hpa.tta import AVERAGES, NO_TTA, TTA, VIEWS, view


def cell_probabilities(parts: Parts, image: np.ndarray, labels: np.ndarray, task: Task, tta: TTA = NO_TTA) -> np.ndarray:
    """Return the probabilities of each cell of a field, float64 [cells, classes], and last those of the field itself.

    Args:
        parts: of a network that pools its maps.
        image: uint8 [S, S, C], as the network takes it.
        labels: int32 [H, W] of any size, the number of the cell at each pixel, 0 outside of cells.
        task: what is classified.
        tta: test-time augmentation; its mean over the views is taken of each cell and of the field.
    """
    found = []
    assert parts.dense is not None
    for turns, mirrored in VIEWS[tta.views]:
        seen = np.ascontiguousarray(view(image[None], turns, mirrored))
        own = np.ascontiguousarray(view(labels[None, ..., None], turns, mirrored))[0, ..., 0]
        features = cell_features(parts, parts.maps(seen), own, image.shape[0])
        logits = np.asarray(parts.dense(features.astype(np.float32), training=False), np.float64)
        found.append(task.kind.from_logits(logits))
    return np.asarray(AVERAGES[tta.average](np.stack(found), task.labels), np.float64)


def cell_features(parts: Parts, maps: list[np.ndarray], labels: np.ndarray, size: int) -> np.ndarray:
    """Return the features of each cell and last of the field, float64 [cells + 1, features].

    Args:
        parts: of a network that pools its maps.
        maps: its maps of one image, each [1, h, w, c].
        labels: int32 [H, W], the number of the cell at each pixel, 0 outside of cells.
        size: side of the image in pixels.
    """
    numbers = np.unique(labels[labels > 0])
    masks = [labels == number for number in numbers]
    outside = (labels == 0).mean()
    columns = []
    for number, kind in parts.pools:
        values, place = maps[number][0].astype(np.float64), parts.places[number]
        weights = [weights_of(mask, place, size) for mask in masks]
        if kind == "average":
            dark = weights_of(labels == 0, place, size)
            mean = np.tensordot(dark, values, 2) / max(dark.sum(), 1e-9)
            share = outside if dark.sum() > 0 else 0.0
            rows = [(1 - share) * np.tensordot(own, values, 2) / own.sum() + share * mean for own in weights]
            rows.append(values.mean(axis=(0, 1)))
        else:
            rows = [values[own >= 0.5 * own.max()].max(axis=0) for own in weights]
            rows.append(values.max(axis=(0, 1)))
        columns.append(np.array(rows))
    return np.concatenate(columns, axis=1)


def weights_of(mask: np.ndarray, place: Place, size: int) -> np.ndarray:
    """Return how much of what each position of a map stands for lies in a mask.

    A position stands for the pixels that are nearer to it than to others.

    Args:
        mask: bool [H, W], of the image in any size.
        place: where the positions of the map lie in the image of the network.
        size: side of that image in pixels.

    Returns:
        float64 [count, count] in [0, 1]. A mask that no position sees gets the nearest one to its middle.
    """
    smaller = min(mask.shape) >= size
    image = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    side = max(round(place.step), 1)
    image = cv2.blur(image, (side, side), borderType=cv2.BORDER_CONSTANT)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    weights = cv2.warpAffine(image, place.matrix, (place.count, place.count), flags=flags).astype(np.float64)
    if weights.max() < 1e-3 and mask.any():
        middle = np.array([each.mean() for each in np.nonzero(mask)]) * size / np.array(mask.shape)
        row, column = np.clip(np.rint((middle - place.start) / place.step), 0, place.count - 1).astype(int)
        weights[row, column] = 1
    return weights


@dataclass(frozen=True)
class Cells:
    """The cells of one sample.

    Attributes:
        id: of the sample.
        labels: int32 [H, W] in the size of its files, the number of the cell at each pixel, 0 outside of cells.
        image: uint8 [H, W, C].
        probabilities: float64 [cells, classes], by ascending number.
        outside: how many more cells lie outside of the part that the network sees.
    """

    id: str
    labels: np.ndarray
    image: np.ndarray
    probabilities: np.ndarray
    outside: int

    @property
    def numbers(self) -> np.ndarray:
        """The cells' numbers, ascending: int32 [cells]."""
        return np.unique(self.labels[self.labels > 0])

    def table(self, classes: Sequence[str], predicted: np.ndarray) -> pd.DataFrame:
        """Return a row for each cell: Id, Cell, its box and area in pixels, whether it touches the border, and its classes.

        Args:
            classes: their names.
            predicted: bool [cells, classes].
        """
        edge = np.unique(np.concatenate([self.labels[[0, -1]].ravel(), self.labels[:, [0, -1]].ravel()]))
        rows = []
        for number in self.numbers:
            mask = self.labels == number
            x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
            rows.append((self.id, number, x, y, width, height, mask.sum(), int(number in edge)))
        columns = ["Id", "Cell", "x", "y", "width", "height", "area", "border"]
        frame = pd.DataFrame(rows, columns=columns)
        scores = pd.DataFrame(self.probabilities.round(4), columns=list(classes))
        texts = [" | ".join(classes[number] for number in np.flatnonzero(row).tolist()) for row in predicted]
        return pd.concat([frame, scores], axis=1).assign(Predicted=texts)


def cells_of_samples(
    folders: Sequence[Path],
    images: Sequence[Path],
    masks: Path | None,
    out: Path,
    submission: Path | None = None,
    overlays: Path | None = None,
    channels: tuple[Sequence[str], Sequence[str]] = (NUCLEUS, BODY),
    tta: TTA = NO_TTA,
) -> str:
    """Write the classes of each cell of some fields; return in words what was written.

    An interrupted call goes on with the fields that are left.

    Args:
        folders: run folders of networks that pool their maps; several are averaged.
        images: folders and files, see `chosen_samples`.
        masks: folder of label images, see `find_label_images`; None to `segment` the fields.
        out: the CSV to write, see `Cells.table`.
        submission: a CSV in the form of Kaggle's single-cell competition, see `submission_row`.
        overlays: a folder for pictures of the cells and their classes.
        channels: those that show nuclei, and those that show cell bodies; for `segment`.
        tta: test-time augmentation.

    Raises:
        BadInput: if an image or a label image cannot be used or would be replaced by a picture, a network flattens its maps,
            or a channel is not there.
    """
    task = common_task(folders)
    absent = [] if masks else [each for names in channels for each in names if each not in task.channels]
    fix = "give label images, or say which channels show nuclei and bodies"
    refuse("masks", [f"the task {task.name} has no channel {each}; {fix}" for each in absent], "masks")
    samples, files = chosen_samples(task, None, images)
    ids = samples.ids.tolist()
    label_files = find_label_images(masks, ids, task) if masks else None
    read = [[*own, *label_files[row : row + 1]] for row, own in enumerate(files)] if label_files else files
    if overlays:
        require_outputs((overlays / f"{each}.png" for each in ids), chain.from_iterable(read), "--overlays")
    require_models("runs", folders)
    thresholds, _ = thresholds_and_rows(folders, task.labels, len(task.classes), tta)
    models = [file_digest(folder / "model.keras") for folder in folders]
    version = 3  # of what is kept of a field, see `found` below
    made_of = version, models, thresholds.tolist(), channels, tta, str(overlays), bool(submission)
    keys = [stamp(own, (identifier, made_of)) for identifier, own in zip(ids, read, strict=True)]
    with remembered(out.with_name(f".{out.name}.partial")) as (found, add):
        left = [row for row, key in enumerate(keys) if key not in found]
        own_ids, own_files = [ids[row] for row in left], [files[row] for row in left]
        own_masks = label_files and [label_files[row] for row in left]
        for row, own in zip(left, find_cells(folders, own_ids, own_files, own_masks, channels, tta), strict=True):
            predicted, _ = task.kind.decide(own.probabilities, thresholds)
            if overlays:
                write_image(overlays / f"{own.id}.png", picture(own, predicted, task))
            table = own.table(task.classes, predicted).to_dict("split", index=False) | {"outside": own.outside}
            found[keys[row]] = table, submission_row(own, task) if submission else ()
            add(keys[row], found[keys[row]])
        tables, rows = zip(*(found[key] for key in keys), strict=True)
        cells = pd.DataFrame([line for table in tables for line in table["data"]], columns=tables[0]["columns"])
        write_csv(out, cells)
        if submission:
            write_csv(submission, pd.DataFrame(rows, columns=SUBMISSION))
    outside = sum(table["outside"] for table in tables)
    left_out = f"; outside of what the network sees: {outside} more" if outside else ""
    return f"{out}: {len(cells)} cells of {len(ids)} fields{left_out}"


def find_cells(
    folders: Sequence[Path],
    ids: Sequence[str],
    files: Sequence[Sequence[Path]],
    label_files: Sequence[Path] | None = None,
    channels: tuple[Sequence[str], Sequence[str]] = (NUCLEUS, BODY),
    tta: TTA = NO_TTA,
) -> Iterator[Cells]:
    """Yield the cells of each field with their probabilities; arguments and faults as for `cells_of_samples`.

    The probability of a class is the geometric mean of that of the cell and that of its field: what the field lacks, the
    cell lacks too.
    """
    task, forms = common_task(folders), [form_of(each) for each in folders]
    parts = [cut_run(folder) for folder in folders]
    flat = [folder for folder, own in zip(folders, parts, strict=True) if own.dense is None]
    refuse("run", [f"{folder}: its network flattens its maps; take one that pools them, such as gapnet" for folder in flat])
    columns = [[task.channels.index(each) for each in names if each in task.channels] for names in channels]
    eight_bits = (None,) * len(task.channels)

    def read(row: int) -> tuple[Sample, np.ndarray, np.ndarray, int]:
        sample = read_sample(files[row], task)
        image = sample.image(None, forms[0][1] or eight_bits)
        if label_files:
            labels = read_label_image(label_files[row], image.shape[:2])
        else:
            labels = segment(*(image[..., each].astype(np.float32).sum(axis=-1) for each in columns))
        outside = 0
        for side in filter(None, (sample.seen(size) for size, _ in forms)):
            seen, part = np.zeros_like(labels), middle_part(labels.shape, side)
            seen[part] = labels[part]
            outside += len(np.setdiff1d(labels, seen))
            labels = seen
        return sample, image, labels, outside

    faults: list[str] = []
    for row, found in enumerate(
        map_in_threads(read, range(len(files)), "cells", faults, name=lambda row: f"id {ids[row]}: ")
    ):
        if found and not faults:
            sample, image, labels, outside = found
            seen = {form: sample.image(form[0], form[1] or eight_bits) for form in dict.fromkeys(forms)}
            places = [sample.seen(size) for size, _ in forms]
            every = [
                cell_probabilities(own, seen[form], middle(labels, side) if side else labels, task, tta)
                for own, form, side in zip(parts, forms, places, strict=True)
            ]
            mean = np.mean(every, axis=0)
            yield Cells(ids[row], labels, image, np.sqrt(mean[:-1] * mean[-1]), outside)
    refuse("images", sorted(faults))


# What the 28 classes of 2018 are among the 19 of the single-cell competition of 2021; the other two are none of these.
SINGLE_CELL_CLASSES = dict(enumerate((
    ("Nucleoplasm",), ("Nuclear membrane",), ("Nucleoli",), ("Nucleoli fibrillar center",), ("Nuclear speckles",),
    ("Nuclear bodies",), ("Endoplasmic reticulum",), ("Golgi apparatus",), ("Intermediate filaments",),
    ("Actin filaments", "Focal adhesion sites"), ("Microtubules", "Microtubule ends"), ("Mitotic spindle",),
    ("Centrosome", "Microtubule organizing center"), ("Plasma membrane", "Cell junctions"), ("Mitochondria",),
    ("Aggresome",), ("Cytosol",),
    ("Peroxisomes", "Endosomes", "Lysosomes", "Lipid droplets", "Cytoplasmic bodies"),
)))  # fmt: skip
SUBMISSION = ["ID", "ImageWidth", "ImageHeight", "PredictionString"]


def submission_row(found: Cells, task: Task) -> tuple[str, int, int, str]:
    """Return a field's row for Kaggle's single-cell competition: for each cell and class number, confidence and mask.

    The competition's own task is given by its 19 classes: the most probable of `SINGLE_CELL_CLASSES`, and negative with what
    is missing to 1. Other tasks keep their numbers.
    """
    words = []
    for probabilities, number in zip(found.probabilities, found.numbers, strict=True):
        confidences = probabilities
        if task.name == HPA.name:
            confidences = np.array(
                [max(probabilities[task.classes.index(name)] for name in names) for names in SINGLE_CELL_CLASSES.values()]
            )
            confidences = np.append(confidences, 1 - probabilities.max())
        mask = encode_mask(found.labels == number)
        words += [f"{place} {confidence:.4f} {mask}" for place, confidence in enumerate(confidences)]
    height, width = found.labels.shape
    return found.id, width, height, " ".join(words)


def encode_mask(mask: np.ndarray) -> str:
    """Return a mask, bool [H, W], as the competition encodes it: COCO's run lengths, compressed by zlib, in base64.

    COCO counts runs of 0 and 1 in turn, down the columns, the first of 0. From the fourth on a count is written as its
    difference to the one before the last, in groups of five bits, the lowest first, as letters from "0" on; a sixth bit says
    that more follow. See maskApi.c of https://github.com/cocodataset/cocoapi.
    """
    pixels = np.concatenate([[0], mask.ravel(order="F").astype(np.int8)])
    starts = np.flatnonzero(np.diff(pixels)) if mask.any() else np.array([], int)
    counts = np.diff(np.concatenate([[0], starts, [mask.size]])).tolist()
    letters = []
    for place, count in enumerate(counts):
        rest = count - counts[place - 2] if place > 2 else count
        more = True
        while more:
            group, rest = rest & 31, rest >> 5
            more = rest != (-1 if group & 16 else 0)
            letters.append(48 + group + 32 * more)
    return base64.b64encode(zlib.compress(bytes(letters))).decode()


def picture(found: Cells, predicted: np.ndarray, task: Task) -> np.ndarray:
    """Return the field with the outline, number and classes of each cell, RGB uint8 [H, W, 3].

    Args:
        found: the cells.
        predicted: bool [cells, classes].
        task: what is classified.
    """
    shown = np.ascontiguousarray(for_people(found.image, found.image, colours(task)))
    for row, number in enumerate(found.numbers):
        mask = (found.labels == number).astype(np.uint8)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(shown, outlines, -1, (255, 255, 255), 1)
        x, y, width, height = cv2.boundingRect(mask)
        lines = [f"{number}", *(task.classes[each] for each in np.flatnonzero(predicted[row]).tolist())]
        scale = max(len(shown) / 1600, 0.25)
        for place, line in enumerate(lines):
            corner = (x + width // 8, y + height // 2 + round(30 * scale * place))
            cv2.putText(shown, line, corner, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)
    return shown
