"""`python -m hpa.augmentations --out FILE.png`: a picture of every augmentation, a labelled row each."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command

BYTES_A_PIXEL = 700, 170  # of memory, as measured: for the picture, and for each channel


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("augmentations", "Write a picture of every augmentation of the first training sample.")
    command.add_folders(parser, runs=False)
    command.add_task(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="the picture to write")
    parser.add_argument("--size", type=command.positive_integer, default=128, help="side of an image in pixels")
    parser.add_argument("--seed", type=command.whole_number, default=0, help="seed of the variations")
    return parser


def work(options: argparse.Namespace) -> None:
    """Write the picture; what the sample is mixed with comes from all over the training table."""
    import numpy as np

    from hpa.data.augment import policies_for
    from hpa.data.images import read_image
    from hpa.data.intensity import measure
    from hpa.data.layout import data_paths, find_files
    from hpa.data.overview import VARIATIONS, write_overview
    from hpa.data.tables import read_samples
    from hpa.registry import AUGMENTATIONS
    from hpa.resources import require_picture

    command.require_output(options, options.out, data_paths(options.data))
    of_picture, of_channel = BYTES_A_PIXEL
    require_picture(options.size, of_picture + of_channel * len(options.task.channels), "a picture of images")
    table = read_samples(options.data, "train", options.task)
    rows = np.unique(np.linspace(0, len(table) - 1, VARIATIONS).astype(int))
    files = find_files(options.data / "train", table.ids[rows], options.task)
    ranges = measure(options.data / "train", files)
    images = np.stack([read_image(channels, options.size, ranges) for channels in files])
    write_overview(options.out, images, table.targets[rows].astype(np.float32), options.seed)
    print(f"{options.out}: sample {table.ids[0]} and {VARIATIONS} variations of it by each augmentation")
    if missing := AUGMENTATIONS.keys() - policies_for(images.shape[-1]):
        print(f"left out: {', '.join(sorted(missing))}; they need three colour channels, this task has {images.shape[-1]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
