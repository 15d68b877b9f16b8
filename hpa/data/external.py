"""Labelled images from elsewhere that are learned from beside the training set, and never validated with.

They lie in the folder `external/` of the data, in the same layout as `train/`, with `external.csv` beside it.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from hpa.data.duplicates import label_clashes, name_labels
from hpa.data.splits import read_groups
from hpa.data.tables import SampleTable, concatenate, has_test_set, read_ids, read_labelled
from hpa.errors import refuse
from hpa.tasks import Task

EXTERNAL = "external"


def read_external(data: Path, task: Task, table: Path | None = None) -> SampleTable:
    """Read the labels of the images in `<data>/external/`.

    Args:
        data: folder of the data.
        task: what is classified.
        table: the labels, in place of `<data>/external.csv` or of class folders (see `read_labelled`).

    Raises:
        BadInput: for a faulty table, and naming every id that is also in the test set, which is never to be learned from.
    """
    external = read_labelled(data / EXTERNAL, task, table)
    if has_test_set(data):
        tested = np.intersect1d(external.ids, read_ids(data, task))
        source = table or data / EXTERNAL
        refuse(source, [f"id {each} is also in the test set; delete the row, or learning would see it" for each in tested])
    return external


def join(sets: dict[str, SampleTable], task: Task) -> SampleTable:
    """Return the samples of labelled sets, one after the other.

    Args:
        sets: each set under its name, `"train"` and `"external"` say.
        task: what is classified.

    Raises:
        BadInput: naming every id that is in two sets, and the labels that it has there if they differ.
    """
    joined = concatenate(sets.values())
    repeated = joined.at(np.flatnonzero(pd.Series(joined.ids).duplicated(keep=False)))
    faults = []
    for identifier, labels in pd.Series(name_labels(repeated.targets, task), repeated.ids).groupby(level=0, sort=False):
        clash = f" with other labels ({'; '.join(labels)})" if len(set(labels)) > 1 else ""
        faults.append(f"id {identifier} is in two of them{clash}; delete one of the rows")
    refuse(" and ".join(sets), faults)
    return joined


def clashes_of_copies(sets: dict[str, SampleTable], copies: Path, task: Task) -> list[str]:
    """Say of every group of copies whose labels differ which sample has which.

    Args:
        sets: labelled sets, each under its name.
        copies: a CSV with the columns `Id` and `group`, such as `hpa.duplicates` writes.
        task: what is classified.

    Raises:
        BadInput: if the file cannot be read or names an id twice.
    """
    frame = pd.concat(
        [
            pd.DataFrame({"Id": table.ids, "set": name, "label": name_labels(table.targets, task)})
            for name, table in sets.items()
        ],
        ignore_index=True,
    )
    groups = read_groups(str(copies), frame["Id"].to_numpy(dtype=str))
    return list(label_clashes(frame.assign(group=groups)).values())
