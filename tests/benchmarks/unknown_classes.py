"""How well features tell cells of a class that the network never saw: each HEp-2 class is left out in turn.

    python tests/benchmarks/unknown_classes.py DATA GROUPS FOLDER [--classes Golgi ...]

DATA has `train/` with HEp-2 cells in class folders, and GROUPS is the CSV of `hpa specimens`. The specimens of the other
five classes are dealt into three parts: a CellNet learns from the first, the second calibrates, the third is new.
P-values are those of `hpa embed --known`. A table has for each left-out class the area under the ROC curve, left-out
cells against new cells of known classes, by the cosine of the nearest learned cell and by the highest probability; and
the share of both with a p-value of 0.1 or less, calibrated by cells and by specimens. What is trained already is used
again.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import hpa
from hpa.data.groups import read_groups
from hpa.data.layout import find_files
from hpa.data.stratify import stratified_folds
from hpa.data.tables import read_labelled
from hpa.inference.embeddings import nearest
from hpa.scoring.conformal import p_values
from hpa.tasks import HEP2

LEARN, KNOWN, NEW = range(3)
OF_A_CLASS = 300  # cells of each part; the learned part has as many of each class
LIMIT = 0.1


def few(rows, targets, random):
    """Return at most `OF_A_CLASS` rows of each class, drawn at random."""
    chosen = [random.permutation(rows[targets[rows, label] > 0])[:OF_A_CLASS] for label in range(targets.shape[1])]
    return np.sort(np.concatenate(chosen))


def train(folder, classes, parts):
    """Train a CellNet on the learned cells and return it; the cells that calibrate choose its epoch."""
    task = hpa.Task("five", tuple(classes), HEP2.channels, HEP2.suffixes, "one")
    for name, files, labels in parts:
        for file, label in zip(files, labels, strict=True):
            link = folder / "data" / name / classes[label] / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(file.resolve())
    made = {"preset": "cells", "name": "five", "epochs": 8, "batch_size": 16, "size": 78}
    return hpa.Run.train(task, folder / "data", folder / "runs", **made)


def left_out(data, groups, label, folder):
    """Return the row of the table for one class."""
    table, random = read_labelled(data / "train", HEP2), np.random.default_rng(0)
    files = np.array([own[0] for own in find_files(data / "train", table.ids, HEP2, whole=True)], object)
    group, known = read_groups(groups, table.ids), np.flatnonzero(np.arange(6) != label)
    rows = np.flatnonzero(table.known_targets[:, label] == 0)
    part = stratified_folds(table.known_targets[rows][:, known], 3, 0, group[rows])
    dealt = [few(rows[part == number], table.known_targets[:, known], random) for number in range(3)]
    strangers = random.permutation(np.flatnonzero(table.known_targets[:, label]))[:OF_A_CLASS]
    labels = table.known_targets[:, known].argmax(axis=1)
    sets = [
        (name, files[dealt[number]], labels[dealt[number]]) for name, number in (("train", LEARN), ("validation", KNOWN))
    ]
    run = train(folder / HEP2.classes[label], [HEP2.classes[each] for each in known], sets)
    learned, usual, new, odd = (run.embed(list(files[each])) for each in (*dealt, strangers))
    cosines = [nearest(each, learned, 1)[1][:, 0] for each in (usual, new, odd)]
    surest = [run.predict(list(files[each])).max(axis=1) for each in (dealt[NEW], strangers)]
    is_odd = np.repeat([0, 1], [len(new), len(odd)])
    row = {"left out": HEP2.classes[label], "cosine": roc_auc_score(is_odd, -np.concatenate(cosines[1:]))}
    row["probability"] = roc_auc_score(is_odd, -np.concatenate(surest))
    for name, own in (("cells", None), ("specimens", group[dealt[KNOWN]])):
        for which, found in (("new", cosines[1]), ("left out", cosines[2])):
            row[f"{which} by {name}"] = (p_values(-found, -cosines[0], own) <= LIMIT).mean()
    return row


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("groups")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--classes", nargs="+", choices=HEP2.classes, default=HEP2.classes)
    options = parser.parse_args()
    rows = []
    for name in options.classes:
        rows.append(left_out(options.data, options.groups, HEP2.classes.index(name), options.folder))
        print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format), flush=True)
    print(f"\nmean\n{pd.DataFrame(rows).mean(numeric_only=True).round(3).to_string()}")


if __name__ == "__main__":
    main()
