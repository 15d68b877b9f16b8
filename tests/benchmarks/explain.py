"""Where networks looked, scored: drawn fields know where each class shows.

    python tests/benchmarks/explain.py DATA RUN...

DATA is a folder that `hpa draw` made; its test fields are drawn again with the key of where each class shows. For each class
of each field whose mask covers at most a third of the image, the exact map, Grad-CAM and a random map (smooth noise) are
scored:

- pointing game: whether the map's highest point lies in the mask, or no more than 1/64 of the side from it;
- energy: the share of what speaks for the class (above 0) that lies in the mask;
- area: the share of the image that the mask covers, which is what a random map would have;
- deletion and insertion: the mean probability of the class while the pixels that speak most for it are blurred away, or
  restored to a blurred image, in ten steps of a tenth of the pixels each. Low and high are good.
"""

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.random import default_rng

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hpa.backend import quiet_import

with quiet_import():
    from hpa.inference.explain import EXACT, GRAD_CAM, explain
    from hpa.inference.predict import load_run

from hpa.data.images import resized
from hpa.drawn.cells import noise
from hpa.drawn.fields import SPLITS, draw_field, sample_table

LARGEST = 1 / 3
STEPS = np.linspace(0, 1, 11)


def curves(model, image: np.ndarray, values: np.ndarray, number: int) -> tuple[float, float]:
    """Return the means of a class's probability over the deletion and over the insertion."""
    order = np.argsort(-cv2.GaussianBlur(values.astype(np.float32), (0, 0), len(values) / 64).ravel()).argsort()
    ranks = order.reshape(values.shape) / values.size
    blurred = cv2.GaussianBlur(image, (0, 0), len(image) / 12)
    deleted = [np.where((ranks < step)[..., None], blurred, image) for step in STEPS]
    inserted = [np.where((ranks < step)[..., None], image, blurred) for step in STEPS]
    found = np.asarray(model.predict_on_batch(np.stack(deleted + inserted)))[:, number]
    return float(found[: len(STEPS)].mean()), float(found[len(STEPS) :].mean())


def score(values: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Return whether the highest point lies in the mask, and the share of what is above 0 that does."""
    smooth = cv2.GaussianBlur(values.astype(np.float32), (0, 0), len(values) / 64)
    reach = 2 * max(len(values) // 64, 1) + 1
    around = cv2.dilate(mask.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    positive = np.maximum(values, 0)
    return float(around.ravel()[smooth.argmax()]), float(positive[mask].sum() / max(positive.sum(), 1e-12))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--fields", type=int, default=100, help="how many of the test fields")
    options = parser.parse_args()
    about = json.loads((options.data / "drawn.json").read_text())
    table = sample_table("test", about["test"], about["seed"])[: options.fields]
    drawn = []
    for row, target in enumerate(table["Target"]):
        classes = [int(each) for each in target.split()]
        generator = default_rng([about["seed"], SPLITS.index("test"), 1 + row])
        drawn.append((classes, draw_field(classes, about["size"], generator, about.get("single_cells", False))))
    for run in options.runs:
        model, rows = load_run(run), []
        found = {
            method: list(explain([run], [each.image for _, each in drawn], method=method)) for method in (EXACT, GRAD_CAM)
        }
        for place, (classes, field) in enumerate(drawn):
            size = len(found[EXACT][place].image)
            for number, own in zip(classes, field.masks, strict=True):
                mask = resized(own.astype(np.uint8) * 255, size) > 127
                if not 0 < mask.mean() <= LARGEST:
                    continue
                maps = {method: found[method][place].maps[number] for method in found}
                maps["random"] = noise(size, size / 8, default_rng([place, number]))
                for method, values in maps.items():
                    pointing, energy = score(values, mask)
                    deletion, insertion = curves(model, found[EXACT][place].image, values, number)
                    rows.append((method, number, pointing, energy, mask.mean(), deletion, insertion))
        columns = ["method", "class", "pointing", "energy", "area", "deletion", "insertion"]
        scores = pd.DataFrame(rows, columns=columns)
        print(f"\n{run}: {len(scores) // 3} maps of {len(drawn)} fields; means over the maps")
        print(scores.drop(columns="class").groupby("method").mean().round(3).to_string())
        print("by class, exact:")
        print(scores[scores["method"] == EXACT].drop(columns="method").groupby("class").mean().round(2).to_string())


if __name__ == "__main__":
    main()
