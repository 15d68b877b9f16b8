"""`python -m hpa.pack`: decode, stack and resize the images once, on all cores; training and prediction then just read.

Training and prediction pack what they need by themselves; this command does it ahead of time.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hpa import command
from hpa.tasks import Task

if TYPE_CHECKING:
    from hpa.data.intensity import Ranges


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("pack", "Decode, stack and resize the images of the training and test set, once.")
    command.add_task(parser)
    command.add_folders(parser)
    parser.add_argument(
        "--size",
        type=command.positive_integer,
        help="side of the packed images in pixels; if not given, as hpa.train has it",
    )
    parser.add_argument(
        "--set",
        choices=("train", "test"),
        help="which images: train takes validation and external sets along; if not given, both, as far as they are there",
    )
    command.add_intensity_range(parser)
    return parser


def work(options: argparse.Namespace) -> None:
    """Pack the stores `<runs>/stores/<set>-<size>-<digits>`."""
    from hpa.data.external import read_external, warn_of_tested
    from hpa.data.layout import find_files
    from hpa.data.partition import has_validation_set
    from hpa.data.store import pack, require_room, store_folder
    from hpa.data.tables import has_test_set, read_ids, read_samples
    from hpa.training.presets import preset_name, preset_settings

    task, ids = options.task, {}
    size = options.size or preset_settings(preset_name(None, task), options.runs)["size"]
    if options.set != "test":
        ids["train"] = read_samples(options.data, "train", task).ids
        if has_validation_set(options.data):
            ids["validation"] = read_samples(options.data, "validation", task).ids
        warn_of_tested(options.data, ids, task)
        ids |= {name: samples.ids for name, samples in read_external(options.data, task).items()}
    if options.set == "test" or (options.set is None and has_test_set(options.data)):
        ids["test"] = read_ids(options.data, task)
    for name in ids:  # a missing file of the test set shows before an hour goes into the training set
        find_files(options.data / name, ids[name], task, whole=True)
    ranges = find_range(options, task)
    folders = {name: store_folder(options.runs, options.data / name, task, size, ranges) for name in ids}
    require_room({folder: len(ids[name]) for name, folder in folders.items()}, size, len(task.channels))
    for name, folder in folders.items():
        store = pack(folder, options.data / name, ids[name], task, size, ranges)
        print(f"{store.folder}: {len(store.ids)} images of {'x'.join(map(str, store.images.shape[1:]))}")


def find_range(options: argparse.Namespace, task: Task) -> "Ranges | None":
    """Return the intensity range that is stated, or that training would measure; None where there is no training set."""
    from hpa.data.intensity import range_of_training_set, stated_range
    from hpa.data.tables import read_samples

    if options.intensity_range:
        return stated_range(options.intensity_range, task)
    if not (options.data / "train").is_dir():
        return None
    return range_of_training_set(options.data, read_samples(options.data, "train", task).ids, task, options.runs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
