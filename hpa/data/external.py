"""Labelled images from elsewhere: a network learns from them in addition to the training set, but is not validated on them.

They lie in the folders `external/` and `external-<any name>/` of the data, in the same layout as `train/`, each with its own
table next to it.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from hpa.data.duplicates import name_labels
from hpa.data.layout import external_sets, say_once
from hpa.data.tables import SampleTable, concatenate, has_test_set, read_ids, read_labelled
from hpa.errors import BadInput, first_of, refuse, shown
from hpa.tasks import Task


def read_external(data: Path, task: Task) -> dict[str, SampleTable]:
    """Read the labels of the external images, as `read_labelled` does, under the name of each folder.

    Raises:
        BadInput: for a faulty table, and naming every id that is also in the test set, which no network may learn from.
    """
    sets = {name: read_labelled(data / name, task) for name in external_sets(data)}
    if has_test_set(data):
        tested = read_ids(data, task)
        fix = "rename it, or delete it if it is the same image: learning would see it"
        for name, samples in sets.items():
            both = np.intersect1d(samples.ids, tested)
            refuse(data / name, [f"id {shown(each)} is also in the test set; {fix}" for each in both])
    return sets


def warn_of_tested(data: Path, ids: Mapping[str, np.ndarray], task: Task) -> None:
    """Log a warning, once a process, if `ids` of some sets, by the sets' names, are in the test set too.

    A test set that is absent or faulty is ignored here; its reader raises.
    """
    try:
        tested = read_ids(data, task) if has_test_set(data) else np.array([])
    except BadInput:
        return
    for name, own in ids.items():
        both = own[np.isin(own, tested)]
        if len(both):
            named = first_of([shown(each) for each in both])
            say_once(
                f"{data / name}: {len(both)} ids are in the test set too ({named}); if they are the same images, take "
                "them out of one: a score on the test set would be too good"
            )


def merge(sets: dict[str, SampleTable], task: Task) -> SampleTable:
    """Return the samples of labelled sets, one after the other.

    Raises:
        BadInput: naming every id that is in two sets, and the labels that it has there if they differ.
    """
    merged = concatenate(sets.values())
    repeated = merged.at(np.flatnonzero(pd.Series(merged.ids).duplicated(keep=False)))
    labels_of_id = pd.Series(name_labels(repeated.known_targets, task), repeated.ids).groupby(level=0, sort=False)
    faults = []
    for identifier, labels in labels_of_id:
        clash = f" with other labels ({'; '.join(labels)})" if len(set(labels)) > 1 else ""
        fix = "but ids are distinct over all sets; rename one, or delete it if it is the same image"
        faults.append(f"id {shown(identifier)} is in two of them{clash}, {fix}")
    refuse(" and ".join(sets), faults)
    return merged
