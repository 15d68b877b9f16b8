"""How fast the augmented feed is at 256 px, against a training step of variant 0 on this machine.

Run `python tests/benchmarks/feed.py`. The two are measured in turn, never at the same time.
"""

import math
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.data.feed import Feed, training_batches  # noqa: E402
from hpa.data.store import pack  # noqa: E402
from hpa.data.tables import read_training_table  # noqa: E402
from hpa.drawn.fields import write_dataset  # noqa: E402
from hpa.files import cores  # noqa: E402
from hpa.models.catalog import build  # noqa: E402
from hpa.settings import Settings  # noqa: E402
from hpa.tasks import HPA  # noqa: E402
from hpa.training.fit import compile_model  # noqa: E402

SETTINGS = Settings(variant=0, batch_size=16)
ROWS = 192
STEPS = 6
REPEATS = 5


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder / "data", train=ROWS, test=1, size=256)
        table = read_training_table(folder / "data" / "train.csv", HPA)
        store = pack(folder / "store", folder / "data" / "train", table.ids, HPA, SETTINGS.size)

        def feed(augmentation: str, epochs: range):
            rows = np.arange(ROWS)
            return training_batches(
                Feed(store.images, table.targets, rows, augmentation, "none", 0), SETTINGS.batch_size, epochs
            )

        model = build(SETTINGS.model, SETTINGS.size, len(HPA.channels), len(HPA.classes), variant=SETTINGS.variant)
        compile_model(model, SETTINGS, HPA, keras.optimizers.Adam(SETTINGS.learning_rate))
        images, targets = next(iter(feed("report", range(1))))
        model.train_on_batch(images, targets)  # traces the step; not what is measured
        rates = {"the feed, augmented": [], "the feed, not augmented": [], "training": []}
        for repeat in range(REPEATS):
            for label, augmentation, epochs in (
                ("the feed, augmented", "report", 4),
                ("the feed, not augmented", "none", 20),
            ):
                start = time.perf_counter()
                batches = sum(1 for _ in feed(augmentation, range(repeat * epochs, (repeat + 1) * epochs)))
                rates[label].append(epochs * ROWS / (time.perf_counter() - start))
                assert batches == epochs * math.ceil(ROWS / SETTINGS.batch_size)
            start = time.perf_counter()
            for _ in range(STEPS):
                model.train_on_batch(images, targets)
            rates["training"].append(STEPS * SETTINGS.batch_size / (time.perf_counter() - start))
        print(f"{cores()} cores, {SETTINGS.size} px, median of {REPEATS}, load {os.getloadavg()[0]:.1f}")
        for label, each in rates.items():
            print(f"{label:>24}: {statistics.median(each):6.1f} images/s ({min(each):.1f} to {max(each):.1f})")
        ratios = [fed / trained for fed, trained in zip(rates["the feed, augmented"], rates["training"], strict=True)]
        print(f"augmented feed / training: {statistics.median(ratios):.1f} (to be 5 or more)")


if __name__ == "__main__":
    main()
