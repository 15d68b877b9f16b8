"""How fast augmented batches of 256 px come from the feed with each mixing, in turn, in images a second.

Run `python tests/benchmarks/mixing.py`. Half of the batches are mixed. The policy is `report`, a batch 32 images. The last
row has no mixing, but the small images of the first epochs of progressive resizing.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.data.feed import Feed, training_batches  # noqa: E402
from hpa.registry import MIXINGS  # noqa: E402

ROWS, ROUNDS = 512, 7
SMALLER = "progressive resizing"


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 256, 256, 4), np.uint8)
    targets = np.zeros((ROWS, 28), np.uint8)
    names = ["none", *(name for name in MIXINGS if name != "none"), SMALLER]
    seconds = {name: [] for name in names}
    for epoch in range(ROUNDS + 1):
        for name in names:
            mixing, small_epochs = ("none", ROUNDS + 1) if name == SMALLER else (name, 0)
            feed = Feed(images, targets, np.arange(ROWS), "report", mixing, 0, small_epochs=small_epochs)
            start = time.perf_counter()
            for _ in training_batches(feed, 32, range(epoch, epoch + 1)):
                pass
            if epoch:  # the first has imports
                seconds[name].append(time.perf_counter() - start)
    for name, own in seconds.items():
        ratio = statistics.median(before / mine for before, mine in zip(seconds["none"], own, strict=True))
        print(f"{name}: {ROWS / statistics.median(own):.0f} images/s, {ratio:.2f} of none")


if __name__ == "__main__":
    main()
