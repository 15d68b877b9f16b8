"""How much the cells that choose the best epoch and an SVM head's C flatter the scores of HEp-2 folds.

    python tests/benchmarks/nested_choice.py DATA RUNS [--name folds]

RUNS is what `pipelines/hep2.sh DATA RUNS` made. For each fold the cells that the network has not seen are halved ten
times, copies together. One half chooses C by its log loss, the other is scored, both ways, with eight views. Next to it
stand what all held-out cells choose, and the network's accuracy at its best epoch and at its last, which nothing chose.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import hpa  # noqa: F401 - sets Keras up
from hpa.data.groups import read_groups
from hpa.data.partition import pack_sets
from hpa.data.stratify import stratified_folds
from hpa.inference.embeddings import extractor_of
from hpa.inference.predict import predict_rows
from hpa.runs.folder import read_history, read_settings, read_task_of, run_folders
from hpa.runs.split import read_partition
from hpa.scoring.metrics import accuracy
from hpa.training import svm
from hpa.tta import VIEWS, view

SPLITS = 10
ALL_C = svm.REGULARISATIONS["rbf"]


class Turned:
    """Images as one view of the test-time augmentation shows them."""

    def __init__(self, images, turns, mirrored):
        self.images, self.turns, self.mirrored = images, turns, mirrored

    def __getitem__(self, rows):
        return np.ascontiguousarray(view(self.images[rows], self.turns, self.mirrored))


def probabilities_by_c(folder, data, runs):
    """Return the probabilities of the held-out rows, float [n, classes], by C; with their targets and groups."""
    settings, task = read_settings(folder), read_task_of(folder)
    partition = read_partition(folder, settings, task, data)
    images = pack_sets(partition, data, runs, task, settings.size, settings.intensity_range)
    extractor, table = extractor_of(folder), partition.table
    learned = predict_rows(extractor, images, partition.training, "features")
    held_out = [predict_rows(extractor, Turned(images, *each), partition.validation, "features") for each in VIEWS[8]]
    training = table.at(partition.training)
    fold_of_row = svm.calibration_folds(partition, settings)
    targets, found = table.known_targets[partition.validation], {}
    for regularisation in ALL_C:
        svm.REGULARISATIONS["rbf"] = (regularisation,)
        head = svm.fit_head(learned, training.known_targets, task.labels, fold_of_row, "rbf", (held_out[0], targets))
        found[regularisation] = np.mean([task.kind.from_logits(head.logits(each)) for each in held_out], axis=0)
    groups = read_groups(settings.groups, table.ids)
    return found, targets, None if groups is None else groups[partition.validation]


def chosen(found, targets, rows):
    """Return the C with the least log loss of some rows."""
    return min(found, key=lambda each: -np.log(found[each][rows][targets[rows] > 0]).mean())


def right(found, targets, rows):
    """Return the accuracy of some rows."""
    return accuracy(targets[rows], np.eye(targets.shape[1])[found[rows].argmax(axis=1)])


def row_of(folder, data, runs):
    """Return the row of the table for a fold."""
    history, best = read_history(folder), "validation_accuracy"
    found, targets, groups = probabilities_by_c(folder, data, runs)
    everything, nested = np.arange(len(targets)), []
    for split in range(SPLITS):
        half = stratified_folds(targets, 2, split, groups) == 0
        for own, other in ((half, ~half), (~half, half)):
            nested.append(right(found[chosen(found, targets, own)], targets, other))
    c = chosen(found, targets, everything)
    row = {"cells": len(targets), "C": c, "chosen by all": right(found[c], targets, everything), "nested": np.mean(nested)}
    return row | {"network, best epoch": history[best].max(), "last epoch": history[best].iloc[-1]}


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--name", default="folds", help="the run whose folds are looked at (default: folds)")
    options = parser.parse_args()
    folders = run_folders(options.runs, [options.name])
    table = pd.DataFrame([row_of(each, options.data, options.runs) for each in folders], [f.parent.name for f in folders])
    print(table.to_string(float_format="{:.4f}".format))
    mean = table.mul(table["cells"], axis=0).sum() / table["cells"].sum()
    print(f"all {table['cells'].sum()} cells: " + ", ".join(f"{name} {mean[name]:.4f}" for name in table.columns[2:]))


if __name__ == "__main__":
    main()
