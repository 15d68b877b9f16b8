"""How large the report page of 30 runs and 2,500 validation images is, and how long it takes.

    python tests/benchmarks/report.py FOLDER

FOLDER gets 2,500 drawn validation fields and 2,000 training fields of `--size` pixels, and one GapNet that is trained on 64
of them for an epoch. The other runs are copies of it with other settings, curves of 40 epochs and probabilities of the drawn
truth under noise. What is there already is used again. The page is made twice: the second time it takes heat maps, single
cells, features and the map from the run folder.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa import train  # noqa: E402
from hpa.drawn.fields import write_dataset  # noqa: E402
from hpa.scoring.predictions import read_predictions, write_predictions  # noqa: E402

RUNS, VALIDATION, TRAINING, EPOCHS = 30, 2500, 2000, 40


def make_runs(folder: Path, size: int) -> Path:
    """Draw the fields, train a network and copy it; return the folder of the runs."""
    data, runs = folder / "data", folder / "runs"
    if not (data / "validation.csv").exists():
        write_dataset(data, train=TRAINING, test=VALIDATION, size=size, seed=0)
        (data / "sample_submission.csv").unlink()
        (data / "test").rename(data / "validation")
        (data / "test_key.csv").rename(data / "validation.csv")
    options = ["--variant", "0", "--size", size, "--epochs", "1", "--rows", "64", "--batch-size", "16"]
    if train.main([*map(str, ["--data", data, "--runs", runs, *options, "--name", "run00"])]):
        raise SystemExit(2)
    first = runs / "run00" / "base"
    validation, random = read_predictions(first / "validation.npz"), np.random.default_rng(0)
    [row] = pd.read_csv(first / "history.csv").to_dict("records")
    for number in range(1, RUNS):
        own = runs / f"run{number:02d}" / "base"
        if not own.exists():
            shutil.copytree(first, own, ignore=shutil.ignore_patterns(".*", "report.npz"))
        changed = {"seed": number, "learning_rate": 0.001 * number, "epochs": EPOCHS}
        (own / "config.json").write_text(json.dumps(json.loads((first / "config.json").read_text()) | changed))
        curve = 1 - 0.6 * np.exp(-np.arange(EPOCHS) / 10)
        history = pd.DataFrame([row] * EPOCHS).assign(epoch=np.arange(EPOCHS) + 1, validation_f1_best=0.5 * curve)
        history.to_csv(own / "history.csv", index=False)
        noise = random.normal(size=validation.probabilities.shape)
        drawn = 1 / (1 + np.exp(3 - 4 * validation.known_targets + (1 - 0.01 * number) * noise))
        write_predictions(own / "validation.npz", replace(validation, probabilities=drawn))
    return runs


def main() -> None:
    """Make the runs and the page, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=256, help="side of the images in pixels")
    options = parser.parse_args()
    runs, page = make_runs(options.folder, options.size), options.folder / "page.html"
    for kept in ("first", "again"):
        start = time.perf_counter()
        command = [sys.executable, "-m", "hpa.report", "--runs", str(runs), "--out", str(page)]
        told = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
        print(f"{kept}: {time.perf_counter() - start:.1f} s, {told}", end="")


if __name__ == "__main__":
    main()
