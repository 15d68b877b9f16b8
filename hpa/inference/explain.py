"""Where a network looked: for each class a map of the image that says what speaks for it and what against it.

A network that ends in dense layers with ReLU is, in inference, piecewise linear from its last maps on: the logit of a
class is the gradient times the maps plus a constant. Each position has its share of that sum, so the maps are exact: they
add up to the logit minus the constant. GapNet and CellNet pool maps of several depths; the shares of all of them count.
Other networks (Mish among the dense layers, SVM heads with radial basis functions) have Grad-CAM (Selvaraju et al., ICCV
2017), here with its signs: the deepest map weighted by the mean of its gradient, which says where, but adds up to nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hpa.data.layout import stamp
from hpa.data.pictures import captioned, colours, for_people, write_sheet
from hpa.errors import BadInput, refuse
from hpa.files import file_digest, remembered, require_outputs, write_csv, written_whole
from hpa.inference.images import Images, chosen_samples, read_images
from hpa.inference.parts import Parts, cut_run, gradients, onto_image
from hpa.inference.predict import common_task, form_of, require_models
from hpa.scoring.blend import thresholds_and_rows
from hpa.scoring.weights import blend
from hpa.tta import AVERAGES, NO_TTA, TTA, VIEWS, view

EXACT, GRAD_CAM = "exact", "grad-cam"
METHODS = ("auto", EXACT, GRAD_CAM)
COLUMNS = 6  # tiles in a row of a picture


@dataclass(frozen=True)
class Explanation:
    """What one image's logits are made of.

    Attributes:
        id: the sample.
        image: uint8 [S, S, C], as the network with the largest images sees it.
        classes: names of all classes.
        maps: float32 [classes, S, S], what each pixel speaks for the class (above 0) or against it (below 0).
        logits: float64 [classes], the mean over networks and views.
        probabilities: float32 [classes], as `hpa predict` has them: of each network the mean that the test-time augmentation
            takes, then the mean over networks. Of several networks or views they are not those of the mean logits.
        constants: float64 [classes], what of a logit is of no place. Exact maps add up to logits minus constants.
        method: `"exact"`, or `"grad-cam"` if any of the networks has no exact maps.
        colours: what each channel is shown in, `#rrggbb`.
    """

    id: str
    image: np.ndarray
    classes: tuple[str, ...]
    maps: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray
    constants: np.ndarray
    method: str
    colours: tuple[str, ...]

    def overlay(self, name: str) -> np.ndarray:
        """Return the image in grey with the map of a class over it, RGB uint8 [S, S, 3]: red speaks for it, blue against."""
        return overlay(for_people(self.image, self.image, self.colours), self.maps[self.classes.index(name)])


def explain(folders: Sequence[Path], images: Images, tta: TTA = NO_TTA, method: str = "auto") -> Iterator[Explanation]:
    """Yield an explanation for each image.

    Args:
        folders: run folders of one task; logits, probabilities, maps and constants are the mean over them.
        images: as for `hpa.api.Run.predict`.
        tta: test-time augmentation; the maps of its views are turned back.
        method: `"exact"`, `"grad-cam"`, or `"auto"` for exact maps where all the networks have them.

    Raises:
        BadInput: if a run has no model, an image cannot be used, or exact maps are asked for where there are none.
    """
    if method not in METHODS:
        raise BadInput(f"method {method}: expected one of {', '.join(METHODS)}", setting="method")
    task, forms = common_task(folders), [form_of(folder) for folder in folders]
    parts = [cut_run(folder) for folder in folders]
    inexact = [str(folder) for folder, own in zip(folders, parts, strict=True) if not own.exact]
    if method == EXACT:
        refuse("method exact", [f"{each} has no exact maps; take {GRAD_CAM}" for each in inexact], "method")
    found = GRAD_CAM if inexact or method == GRAD_CAM else EXACT
    size = max(size for size, _ in forms)
    largest = next(form for form in forms if form[0] == size)
    ids, batches = read_images(images, task, list(dict.fromkeys(forms)))
    names = iter(ids)
    for batch in batches:
        for row, image in enumerate(batch[largest]):
            runs = [
                [_explained(own, batch[form][row : row + 1], *each, found, size) for each in VIEWS[tta.views]]
                for own, form in zip(parts, forms, strict=True)
            ]
            outputs = [task.kind.from_logits(np.stack([logits for _, logits, _ in own])) for own in runs]  # [views, classes]
            [probabilities] = blend([AVERAGES[tta.average](own[:, None], task.labels) for own in outputs])
            maps, logits, constants = (np.mean(each, axis=0) for each in zip(*chain.from_iterable(runs), strict=True))
            maps, own_colours = maps.astype(np.float32), tuple(colours(task))
            yield Explanation(next(names), image, task.classes, maps, logits, probabilities, constants, found, own_colours)


def explain_samples(
    folders: Sequence[Path],
    data: Path | None,
    images: Sequence[Path],
    out: Path,
    classes: Sequence[str] = (),
    tta: TTA = NO_TTA,
    method: str = "auto",
) -> str:
    """Write `<id>.npz` and `<id>.png` for each of some samples, and `explanations.csv`; return in words what was written.

    The NPZ holds the maps, logits and constants of the classes that are explained, and their names. The picture shows the
    image and these maps over it. The table has a row for each. An interrupted call goes on with the samples that are left.

    Args:
        folders: run folders; several are averaged.
        data: a labelled set, or None.
        images: else folders and files, see `chosen_samples`.
        out: the folder to write to.
        classes: those to explain; none for those that are predicted.
        tta: test-time augmentation.
        method: as for `explain`.

    Raises:
        BadInput: if an image cannot be used, or would be replaced by its picture, or a class is unknown.
    """
    task = common_task(folders)
    unknown = [each for each in classes if each not in task.classes]
    refuse("classes", [f"{each} is none of {', '.join(task.classes)}" for each in unknown], "classes")
    samples, files = chosen_samples(task, data, images)
    written = (out / f"{identifier}.{ending}" for identifier in samples.ids for ending in ("npz", "png"))
    require_outputs(written, chain.from_iterable(files))
    require_models("runs", folders)
    thresholds = None if classes else thresholds_and_rows(folders, task.labels, len(task.classes), tta)[0]
    models = [file_digest(folder / "model.keras") for folder in folders]
    version = 2  # of what is kept of an image, see `rows` below
    made_of = version, models, list(classes), tta, method, None if thresholds is None else thresholds.tolist()
    keys = [stamp(own, (identifier, made_of)) for own, identifier in zip(files, samples.ids.tolist(), strict=True)]
    with remembered(out / ".explanations.partial") as (rows, add):
        left = [row for row, key in enumerate(keys) if key not in rows]
        for own, row in zip(explain(folders, [files[row] for row in left], tta, method), left, strict=True):
            chosen = [task.classes.index(each) for each in classes]
            if thresholds is not None:
                chosen = np.flatnonzero(task.kind.decide(own.probabilities[None], thresholds)[0][0]).tolist()
            identifier = str(samples.ids[row])
            _write(out, identifier, own, chosen)
            numbers = np.round([own.probabilities, own.logits, own.constants], 4).T.tolist()
            rows[keys[row]] = [[identifier, task.classes[number], *numbers[number], own.method] for number in chosen]
            add(keys[row], rows[keys[row]])
        columns = ["Id", "class", "probability", "logit", "constant", "method"]
        table = pd.DataFrame([line for key in keys for line in rows[key]], columns=columns)
        write_csv(out / "explanations.csv", table, float_format="%.4f", na_rep="nan")
    return f"{out}: {len(table)} maps of {len(keys)} images, {table['method'].iloc[0] if len(table) else method}"


def overlay(picture: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return a picture, RGB uint8 [S, S, 3], in grey under a signed map [S, S]: red is above 0, blue below.

    The map is smoothed over 1/64 of the side; its colour is full at the largest of all absolute values.
    """
    smooth = cv2.GaussianBlur(values.astype(np.float32), (0, 0), max(len(values) / 64, 0.5))
    share = np.clip(np.abs(smooth) / max(float(np.abs(smooth).max()), 1e-12), 0, 1)[..., None]
    grey = picture.max(axis=-1, keepdims=True).astype(np.float32)
    colour = np.where(smooth[..., None] > 0, [[255, 40, 20]], [[40, 90, 255]])
    return np.round(grey * (1 - 0.7 * share) + 0.7 * share * colour).astype(np.uint8)


def _write(out: Path, identifier: str, found: Explanation, chosen: Sequence[int]) -> None:
    """Write the NPZ and the picture of one sample."""
    with written_whole(out / f"{identifier}.npz") as temporary:
        arrays = {"maps": found.maps[chosen], "logits": found.logits[chosen], "constants": found.constants[chosen]}
        names = np.array([found.classes[number] for number in chosen], str)
        np.savez(temporary, allow_pickle=False, **arrays, classes=names, method=np.array(found.method))
    picture = for_people(found.image, found.image, found.colours)
    tiles = [captioned(identifier, picture)]
    tiles += [
        captioned(f"{found.probabilities[number]:.2f} {found.classes[number]}", overlay(picture, found.maps[number]))
        for number in chosen
    ]
    columns = min(len(tiles), COLUMNS)
    blank = np.full_like(tiles[0], 32)
    write_sheet(out / f"{identifier}.png", [*tiles, *[blank] * (-len(tiles) % columns)], columns)


def _explained(
    parts: Parts, image: np.ndarray, turns: int, mirrored: bool, method: str, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return maps [classes, size, size], logits and constants [classes] of a view of one image uint8 [1, s, s, C]."""
    maps = parts.maps(np.ascontiguousarray(view(image, turns, mirrored)))
    logits = np.asarray(parts.head(maps, training=False), np.float64)[0]
    classes = len(logits)
    slopes = gradients(parts.head, [np.repeat(each, classes, axis=0) for each in maps], np.eye(classes, dtype=np.float32))
    layered = list(zip(maps, slopes, parts.places, strict=True))
    if method == GRAD_CAM:  # of the deepest map alone
        values, slope, place = max(layered, key=lambda each: each[2].step)
        layered = [(values, slope.mean(axis=(1, 2), keepdims=True), place)]
    spread, constants = np.zeros((classes, size, size)), logits.copy()
    for values, slope, place in layered:
        shares = (values[0].astype(np.float64) * slope).sum(axis=-1)  # [classes, h, w]
        constants -= shares.sum(axis=(1, 2))
        spread += [onto_image(own, place.scaled(size / image.shape[1]), size) for own in shares]
    spread = spread[:, :, ::-1] if mirrored else spread
    return np.rot90(spread, -turns, axes=(1, 2)), logits, constants if method == EXACT else np.full(classes, np.nan)
