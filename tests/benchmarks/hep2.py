"""What the options of the second report's future work are worth on the HEp-2 cells, at a short and equal budget.

Run `python tests/benchmarks/hep2.py DATA FOLDER`, where DATA has `train/` and `validation/`; stopped and started again, it
goes on. Every row learns from the same 1,500 training cells in six passes, with seed 0, on one core, and differs in what it
is named after from the first one, a CellNet with `--preset cells` in batches of 16. The accuracy is that of the best epoch
on all validation cells; so few cells tell apart what differs by some points, not less.
"""

import argparse
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from ablation import hpa

from hpa.training.runs import read_history

BUDGET = ["--rows", "1500", "--epochs", "6"]
COMMON = ["--task", "hep2", *BUDGET, "--batch-size", "16", "--averaging", "0.98"]
ROWS = {
    "alexnet": ["--task", "hep2", *BUDGET, "--preset", "alexnet"],
    "mobilenet-v2": [*COMMON, "--model", "mobilenet-v2"],
    "resnet50-v2": [*COMMON, "--model", "resnet50-v2"],
    "cells": COMMON,
    "mish": [*COMMON, "--activation", "mish"],
    "smooth-l1": [*COMMON, "--loss", "smooth-l1"],
    "no-mixing": [*COMMON, "--mixing", "none"],
    "cutmix": [*COMMON, "--mixing", "cutmix"],
    "mosaic": [*COMMON, "--mixing", "mosaic"],
    "no-augmentation": [*COMMON, "--augmentation", "none"],
}
TRIALS = 10
TRIAL = ["--task", "hep2", "--rows", "750", "--epochs", "3", "--batch-size", "16", "--averaging", "0.98"]


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="the cells")
    parser.add_argument("folder", type=Path, help="where runs are written")
    options = parser.parse_args()
    where = ["--data", options.data, "--runs", options.folder]

    def train(name: str) -> tuple[str, float]:
        start = time.perf_counter()
        if name == "search":
            hpa("search", *where, *TRIAL, "--trials", TRIALS)
            hpa("train", *where, *COMMON, "--preset", "search", "--name", name)
        else:
            hpa("train", *where, *ROWS[name], "--name", name)
        return name, time.perf_counter() - start

    hpa("pack", *where, "--task", "hep2", "--set", "train")
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        seconds = dict(pool.map(train, ["search", *ROWS]))
    for kernel in ("linear", "rbf"):
        hpa("svm", *where, "--name", "cells", "--kernel", kernel)
    table = pd.DataFrame(
        [
            {
                "row": name,
                "seconds": round(seconds.get(name, 0)),
                **read_history(options.folder / name / "base").max().to_dict(),
            }
            for name in [*ROWS, "cells-svm-linear", "cells-svm-rbf", "search"]
        ]
    )
    table = table[["row", "seconds", "validation_accuracy", "validation_mean_class_accuracy"]]
    table.to_csv(options.folder / "rows.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
