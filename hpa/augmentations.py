"""`python -m hpa.augmentations --out FILE.png`: a picture of every augmentation, a labelled row each."""

import argparse
from pathlib import Path

from hpa import command


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("augmentations", shared="data task")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")
    parser.add_argument("--size", type=command.positive_integer, default=128, help="side of an image in pixels")
    parser.add_argument("--seed", type=command.whole_number, default=0, help="seed of the variations")
    return parser


def work(options: argparse.Namespace) -> None:
    """Write the picture and print what it shows."""
    from hpa.data.layout import data_paths
    from hpa.data.overview import write_overview_of

    command.require_output(options, options.out, data_paths(options.data))
    print(write_overview_of(options.out, options.data, options.task, options.size, options.seed))


main = command.main(__name__, build_parser, work)
