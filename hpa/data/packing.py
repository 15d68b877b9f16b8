"""Pack all images of a data folder ahead of time, as training and prediction would pack them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from hpa.data.external import read_external, warn_of_tested
from hpa.data.images import Interval
from hpa.data.intensity import range_of_training_set, stated_range
from hpa.data.layout import find_files
from hpa.data.partition import has_validation_set
from hpa.data.store import ImageStore, pack_all
from hpa.data.tables import has_test_set, read_ids, read_labelled
from hpa.tasks import Task

Stated = Sequence[Interval | None] | None


def pack_data(
    data: Path,
    runs: Path,
    task: Task,
    size: int,
    which: str | None = None,
    intensity_range: Stated = None,
    part: tuple[int, int] | None = None,
) -> Iterator[ImageStore]:
    """Pack the sets of a data folder and yield each store, `<runs>/stores/<set>-<size>-<digits>`, when it is whole.

    `which` is `"train"` for the training, validation and external sets, `"test"` for the test set, and None for all. The
    intensity range is that of 16-bit files, one for all channels or one for each; None to measure it on the training set.
    With a part, (number from 1, count), only that of each set is packed, and nothing is yielded.

    Raises:
        BadInput: before anything is packed, if a table is faulty or a file of a set is missing.
    """
    ids = {}
    if which != "test":
        ids["train"] = read_labelled(data / "train", task).ids
        if has_validation_set(data):
            ids["validation"] = read_labelled(data / "validation", task).ids
        warn_of_tested(data, ids, task)
        ids |= {name: samples.ids for name, samples in read_external(data, task).items()}
    if which == "test" or (which is None and has_test_set(data)):
        ids["test"] = read_ids(data, task)
    for name in ids if not part else ():  # a missing file of the test set shows before an hour goes into the training set
        find_files(data / name, ids[name], task, whole=True)
    ranges = stated_range(intensity_range, task) if intensity_range else None
    if not intensity_range and (data / "train").is_dir():  # as training would measure it
        ranges = range_of_training_set(data, read_labelled(data / "train", task).ids, task, runs)
    yield from pack_all(ids, data, runs, task, size, ranges, part)
