"""Single cells by networks that were trained on whole fields: mean average precision against the answer key of drawn fields.

    python tests/benchmarks/cells.py DATA RUN...

DATA is a folder that `hpa draw --single-cells` made. The cells are those of the key with at least 1 % of the image; classes
that fewer than 3 of them show are left out. Compared are: the field's probabilities given to each of its cells; a crop of
each cell put through the network; the field with all but the cell painted over by the background; the maps pooled over the
cell; and each of these times the field's probability. `hpa cells` ranks as `pooled over the cell x field` does. The last row
has the cells of its watershed.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hpa.backend import quiet_import

with quiet_import():
    from hpa.inference.cells import cell_probabilities
    from hpa.inference.parts import cut_run
    from hpa.inference.predict import load_run

from hpa.data.images import read_sample
from hpa.data.segmentation import segment
from hpa.runs.folder import read_settings
from hpa.tasks import HPA

SMALLEST, FEWEST = 0.01, 3


def matched(labels: np.ndarray, masks: list[np.ndarray], probabilities: np.ndarray) -> np.ndarray:
    """Return for each mask the probabilities of the found cell that overlaps it most; 0 if none does by half."""
    numbers = np.unique(labels[labels > 0])
    rows = np.zeros((len(masks), probabilities.shape[1]))
    for row, mask in enumerate(masks):
        overlaps = [(mask & (labels == number)).sum() / (mask | (labels == number)).sum() for number in numbers]
        if overlaps and max(overlaps) >= 0.5:
            rows[row] = probabilities[int(np.argmax(overlaps))]
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--fields", type=int, default=None, help="how many of the test fields; all if not given")
    options = parser.parse_args()
    key = pd.read_csv(options.data / "test_cells.csv", dtype={"Id": str}, keep_default_na=False)
    ids = sorted(key["Id"].unique())[: options.fields]
    for run in options.runs:
        parts, model, size = cut_run(run), load_run(run), read_settings(run).size
        found, targets = defaultdict(list), []
        for identifier in ids:
            image = read_sample([options.data / "test" / f"{identifier}_{each}.png" for each in HPA.channels], HPA).image(
                size
            )
            labels = cv2.imread(str(options.data / "test_masks" / f"{identifier}.png"), cv2.IMREAD_UNCHANGED)
            labels = cv2.resize(labels, (size, size), interpolation=cv2.INTER_NEAREST).astype(np.int32)
            own = key[key["Id"] == identifier]
            large = [number for number in np.unique(labels[labels > 0]) if (labels == number).mean() >= SMALLEST]
            if not large:
                continue
            for number in large:
                [text] = own["Target"][own["Cell"] == number]
                targets.append(np.isin(np.arange(len(HPA.classes)), [int(each) for each in text.split()]))
            masks = [labels == number for number in large]
            every = cell_probabilities(parts, image, labels, HPA)
            rows = np.isin(np.unique(labels[labels > 0]), large)
            background = np.median(image[labels == 0], axis=0) if (labels == 0).any() else np.zeros(4)
            painted = np.stack([np.where(mask[..., None], image, background).astype(np.uint8) for mask in masks])
            boxes = [cv2.boundingRect(mask.astype(np.uint8)) for mask in masks]
            crops = np.stack([cv2.resize(image[y : y + h, x : x + w], (size, size)) for x, y, w, h in boxes])
            red, _, blue, yellow = np.moveaxis(image.astype(np.float32), -1, 0)
            watershed = segment(blue, red + yellow)
            field = every[-1]
            methods = {
                "the field's": np.repeat(field[None], len(masks), axis=0),
                "crops": np.asarray(model.predict_on_batch(crops)),
                "painted over": np.asarray(model.predict_on_batch(painted)),
                "pooled over the cell": every[:-1][rows],
            }
            methods |= {f"{name} x field": own * field for name, own in list(methods.items())[1:]}
            ours = cell_probabilities(parts, image, watershed, HPA)[:-1]
            methods["own watershed x field"] = matched(watershed, masks, ours) * field
            for name, own in methods.items():
                found[name].append(own)
        truth = np.stack(targets)
        scored = np.flatnonzero(truth.sum(axis=0) >= FEWEST)
        print(f"\n{run}: {len(truth)} cells of {len(ids)} fields, {len(scored)} classes\n{'':28}  mAP by class   over all")
        for name, own in found.items():
            values = np.concatenate(own)
            by_class = np.mean([average_precision_score(truth[:, each], values[:, each]) for each in scored])
            print(f"{name:28}  {by_class:12.3f}  {average_precision_score(truth.ravel(), values.ravel()):9.3f}")


if __name__ == "__main__":
    main()
