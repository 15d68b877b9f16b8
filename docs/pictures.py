"""Makes the picture of the first page: `python docs/pictures.py RUN DATA PICTURE.png`.

RUN is a run folder with predictions of the test set of DATA. DATA is drawn, so its classes are known. The fields are the
first ones of the test set, whether they are predicted well or not.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hpa.data.tables import read_training_table
from hpa.scoring.predictions import read_predictions
from hpa.scoring.thresholds import find_thresholds, predict_classes
from hpa.tasks import HPA

ROWS, COLUMNS = 2, 4
RIGHT, WRONG, MISSED = "#1b7f3b", "#c62828", "#757575"


def draw(run: Path, data: Path, out: Path) -> None:
    """Draw the first test fields, and below each its classes: predicted rightly, predicted wrongly, and missed."""
    validation, test = (read_predictions(run / name) for name in ("validation.npz", "test.npz"))
    predicted, _ = predict_classes(
        test.probabilities, find_thresholds("per-class", validation.targets, validation.probabilities)
    )
    key = read_training_table(data / "test_key.csv", HPA)
    truth = dict(zip(key.ids, key.targets, strict=True))
    figure, axes = plt.subplots(ROWS, COLUMNS, figsize=(2.5 * COLUMNS, 3.2 * ROWS))
    figure.subplots_adjust(left=0.01, right=0.99, top=0.99, bottom=0.12, wspace=0.04, hspace=0.3)
    for axis, identifier, row in zip(axes.flat, test.ids, predicted, strict=False):
        channels = [
            np.asarray(Image.open(data / "test" / f"{identifier}_{colour}.png")) for colour in ("red", "green", "blue")
        ]
        axis.imshow(np.stack([_stretched(channel) for channel in channels], axis=-1), interpolation="bicubic")
        axis.set_xticks([])
        axis.set_yticks([])
        lines = [
            (name, RIGHT if truth[identifier][number] else WRONG) for number, name in enumerate(HPA.classes) if row[number]
        ]
        lines += [
            (f"missed: {name}", MISSED)
            for number, name in enumerate(HPA.classes)
            if truth[identifier][number] and not row[number]
        ]
        for number, (text, colour) in enumerate(lines):
            axis.text(
                0.5, -0.03 - 0.095 * number, text, color=colour, fontsize=9, ha="center", va="top", transform=axis.transAxes
            )
    figure.savefig(out, dpi=90)


def _stretched(channel: np.ndarray) -> np.ndarray:
    """Return a channel uint8 [H, W] scaled so that all but one in 200 pixels are below full brightness."""
    brightest = max(float(np.percentile(channel, 99.5)), 64.0)
    return np.clip(channel * (255 / brightest), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    draw(*map(Path, sys.argv[1:4]))
