"""`python -m hpa.pack`: decode, stack and resize the images once, on all cores; training and prediction then just read.

Training and prediction pack what they need by themselves; this command does it ahead of time.
"""

import argparse
from collections.abc import Sequence

from hpa import command


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
    return parser


def work(options: argparse.Namespace) -> None:
    """Pack the stores `<runs>/stores/<set>-<size>`."""
    from hpa.data.external import read_external, warn_of_tested
    from hpa.data.layout import find_files
    from hpa.data.store import pack
    from hpa.data.tables import has_test_set, read_ids, read_samples
    from hpa.training.presets import find_preset
    from hpa.training.sides import has_validation_set

    task, ids = options.task, {}
    size = options.size or find_preset(None, task, options.runs)["size"]
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
    for name in ids:
        store = pack(options.runs / "stores" / f"{name}-{size}", options.data / name, ids[name], task, size)
        print(f"{store.folder}: {len(store.ids)} images of {'x'.join(map(str, store.images.shape[1:]))}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
