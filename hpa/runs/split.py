"""The train/validation partition of a run, from the split.csv in its folder."""

from pathlib import Path

import numpy as np

from hpa.data.partition import Partition, make_partition
from hpa.data.tables import read_columns
from hpa.errors import BadInput
from hpa.files import file_digest, read_json, require_plain
from hpa.runs.folder import read_settings
from hpa.scoring.predictions import read_predictions
from hpa.settings import Settings
from hpa.tasks import Task


def read_partition(folder: Path, settings: Settings, task: Task, data: Path) -> Partition:
    """Return the partition of the run in `folder`, from its split.csv; `settings` are its own, or those of the next stage.

    BadInput is raised as by `make_partition`, and if split.csv is missing, has another digest than config.json says, or has
    other validation rows than validation.npz.
    """
    split = folder / "split.csv"
    again = "restore it, or delete it and run the command of the run again, which writes it"
    if not split.exists():
        raise BadInput(f"{split}: missing; run the command of the run again, which writes it")
    require_plain(split)
    digest = read_json(folder / "config.json").get("split_sha256")
    if digest and digest != file_digest(split):
        raise BadInput(f"{split}: not the split that config.json names, rows were changed; {again}")
    partition = make_partition(settings, task, data, split)
    if not validates_as(folder, partition):
        raise BadInput(f"{split}: has other validation rows than validation.npz; {again}")
    return partition


def validates_as(folder: Path, partition: Partition) -> bool:
    """Tell whether the validation.npz of a run folder, if there is one, has the validation rows of the partition.

    This finds a changed split in runs of earlier versions, which have no digest of it.
    """
    file = folder / "validation.npz"
    own = set(partition.table.ids[partition.validation].tolist())
    return not file.exists() or own == set(read_predictions(file).ids.tolist())


def learned_ids(folder: Path) -> np.ndarray:
    """Return the ids of the training rows of the run in a folder, str [n]; none without its split.csv."""
    if not (folder / "split.csv").exists():
        return np.empty(0, str)
    frame = read_columns(folder / "split.csv", ["Id", "fold"])
    return frame["Id"][frame["fold"] == str(read_settings(folder).fold + 1)].to_numpy(str)
