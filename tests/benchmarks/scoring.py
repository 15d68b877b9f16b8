"""How long thresholds, weights and intervals take on as many rows as the training table has: 31,072 x 28 classes.

Run `python tests/benchmarks/scoring.py`. Thresholds and forward selection are compared with the straightforward way, a loop
over scikit-learn's F1 at 100 thresholds for every class. That loop is timed on a part, every class at five thresholds of
one member, and reckoned for the whole. Ratios are of processor times, which other work on the machine changes little.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.scoring.comparison import compare_thresholds  # noqa: E402
from hpa.scoring.metrics import resampled_macro_f1  # noqa: E402
from hpa.scoring.rules import THRESHOLDS  # noqa: E402
from hpa.scoring.thresholds import find_thresholds  # noqa: E402
from hpa.scoring.weights import SELECTIONS, member_weights  # noqa: E402

ROWS, CLASSES, MEMBERS = 31_072, 28, 32
SHARES = np.geomspace(0.4, 0.0005, CLASSES)  # long-tailed, like the competition's classes
GRID, TIMED = 100, 5


def timed(repeats: int, work: Callable, *arguments: object) -> float:
    """Return the median of the processor seconds that a call takes, and print it with the seconds on the clock."""
    times = []
    for _ in range(repeats):
        start = time.process_time(), time.perf_counter()
        work(*arguments)
        times.append((time.process_time() - start[0], time.perf_counter() - start[1]))
    processor, clock = map(statistics.median, zip(*times, strict=True))
    print(f"{processor:.3f} s of the processor, {clock:.3f} s by the clock", end="")
    return processor


def straightforward(targets: np.ndarray, probabilities: np.ndarray) -> None:
    """Try `TIMED` thresholds for every class with scikit-learn."""
    for truth, own in zip(targets.T, probabilities.T, strict=True):
        for threshold in np.linspace(0.1, 0.9, TIMED):
            f1_score(truth, own > threshold, zero_division=0)


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    random = np.random.default_rng(0)
    targets = (random.random((ROWS, CLASSES)) < SHARES).astype(np.uint8)
    seen = np.log(SHARES / (1 - SHARES)) + 3 * targets
    members = [(1 / (1 + np.exp(-seen - random.normal(size=seen.shape)))).astype(np.float32) for _ in range(MEMBERS)]
    print(f"{ROWS} rows x {CLASSES} classes\nscikit-learn, {TIMED} of {GRID} thresholds for every class: ", end="")
    whole = timed(1, straightforward, targets, members[0]) * GRID / TIMED
    print(f"; all {GRID} reckoned {whole:.0f} s")
    for rule in THRESHOLDS:
        print(f"thresholds {rule}, to be under 1 s: ", end="")
        seconds = timed(7, find_thresholds, rule, targets, members[0])
        print(f"; the loop takes {whole / seconds:.0f} times as long")
    for rule in ("greedy", "optimum"):
        print(f"weights {rule}, {MEMBERS} members{', to be under 20 s' if rule == 'greedy' else ''}: ", end="")
        seconds = timed(1, member_weights, rule, np.zeros(MEMBERS), 0.0, targets, members, "per-class")
        loops = SELECTIONS * MEMBERS * whole
        print(f"; with the loop {loops / 3600:.1f} h, {loops / seconds:.0f} times as long" if rule == "greedy" else "")
    print("1000 resamples of the macro F1 of 5 predictions: ", end="")
    predicted = np.stack([own > 0.3 for own in members[:5]])
    timed(1, resampled_macro_f1, targets, predicted, 1000, random)
    print("\ntable of the threshold rules, cross-validated, with intervals: ", end="")
    timed(1, compare_thresholds, targets, members[0], {rule: rule for rule in THRESHOLDS}, "global", 0)
    print()


if __name__ == "__main__":
    main()
