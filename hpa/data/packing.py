"""All images of a data folder are packed ahead of time, as training and prediction would pack them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hpa.data.external import read_external, warn_of_tested
from hpa.data.images import Interval
from hpa.data.intensity import Ranges, range_of_training_set, stated_range
from hpa.data.layout import find_files
from hpa.data.partition import has_validation_set
from hpa.data.store import ImageStore, pack, require_room, store_folder
from hpa.data.tables import has_test_set, read_ids, read_samples
from hpa.tasks import Task


def pack_data(
    data: Path,
    runs: Path,
    task: Task,
    size: int,
    which: str | None = None,
    intensity_range: Sequence[Interval | None] | None = None,
) -> Iterator[ImageStore]:
    """Pack the sets of a data folder and yield each store when it is whole.

    Args:
        data: folder of the data.
        runs: the folder of all runs; the stores are `<runs>/stores/<set>-<size>-<digits>`.
        task: what is classified.
        size: side of the packed images in pixels.
        which: `"train"` for the training, validation and external sets, `"test"` for the test set; None for all that there
            are.
        intensity_range: the interval of 16-bit files of all channels, or of each; None to measure it over the training set.

    Raises:
        BadInput: before anything is packed, if a table is faulty or a file of a set is missing.
    """
    ids = {}
    if which != "test":
        ids["train"] = read_samples(data, "train", task).ids
        if has_validation_set(data):
            ids["validation"] = read_samples(data, "validation", task).ids
        warn_of_tested(data, ids, task)
        ids |= {name: samples.ids for name, samples in read_external(data, task).items()}
    if which == "test" or (which is None and has_test_set(data)):
        ids["test"] = read_ids(data, task)
    for name in ids:  # a missing file of the test set shows before an hour goes into the training set
        find_files(data / name, ids[name], task, whole=True)
    ranges = _range(data, runs, task, intensity_range)
    folders = {name: store_folder(runs, data / name, task, size, ranges) for name in ids}
    require_room({folder: len(ids[name]) for name, folder in folders.items()}, size, len(task.channels))
    for name, folder in folders.items():
        yield pack(folder, data / name, ids[name], task, size, ranges)


def _range(data: Path, runs: Path, task: Task, stated: Sequence[Interval | None] | None) -> Ranges | None:
    """Return the range that is stated, or that training would measure; None where there is no training set."""
    if stated:
        return stated_range(stated, task)
    if not (data / "train").is_dir():
        return None
    return range_of_training_set(data, read_samples(data, "train", task).ids, task, runs)
