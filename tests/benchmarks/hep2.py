"""What the options of the second report's future work are worth on the HEp-2 cells, at a short and equal budget.

Run `python tests/benchmarks/hep2.py DATA FOLDER`, where DATA has `train/` and `validation/`; stopped and started again, it
goes on. Every row learns from the same 1,500 training cells in six passes, with seed 0, on one core, and differs in what it
is named after from the row `cells`, a CellNet with `--preset cells` in batches of 16; `alexnet` has the report's batches of
4. The scores are those of the best epoch on all validation cells; so few cells tell apart what differs by some points, not
less. The seconds of a row that was stopped are those after its last start; those of `search` count the ten trials too.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from ablation import hpa

from hpa.files import cores
from hpa.runs.folder import read_history

BUDGET = ["--rows", "1500", "--epochs", "6"]
COMMON = ["--task", "hep2", *BUDGET, "--batch-size", "16", "--ema-momentum", "0.98"]
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
MACHINES = {"cells-svm-linear": "linear", "cells-svm-rbf": "rbf"}
TRIALS = 10
TRIAL = ["--task", "hep2", "--rows", "750", "--epochs", "3", "--batch-size", "16", "--ema-momentum", "0.98"]


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="the cells")
    parser.add_argument("folder", type=Path, help="where runs are written")
    options = parser.parse_args()
    where = ["--data", options.data, "--runs", options.folder]

    def make(name: str) -> None:
        seconds = options.folder / f"{name}.seconds"
        if seconds.exists():
            return
        start = time.perf_counter()
        if name in MACHINES:
            hpa("svm", "--data", options.data, "--run", options.folder / "cells" / "base", "--kernel", MACHINES[name])
        elif name == "search":
            hpa("search", *where, *TRIAL, "--trials", TRIALS)
            hpa("train", *where, *COMMON, "--preset", "search", "--name", name)
        else:
            hpa("train", *where, *ROWS[name], "--name", name)
        seconds.write_text(f"{time.perf_counter() - start:.0f}")
        print(f"made: {name}", flush=True)

    hpa("pack", *where, "--task", "hep2", "--set", "train")
    for names in (["search", *ROWS], MACHINES):
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(make, names))
    rows = []
    for name in (*ROWS, *MACHINES, "search"):
        history = read_history(options.folder / name / "base")
        best = history.loc[history["validation_accuracy"].idxmax()]
        seconds = int((options.folder / f"{name}.seconds").read_text())
        rows.append((name, seconds, best["validation_accuracy"], best["validation_mean_class_accuracy"]))
    table = pd.DataFrame(rows, columns=["row", "seconds", "accuracy", "mean class accuracy"])
    table.to_csv(options.folder / "rows.csv", index=False)
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
