"""`python -m hpa.sort`: sort a flat folder of images into class folders by a table of classes.

For example `python -m hpa.sort --images cells --table gt_training.csv --out data/train`. Files are copied or, with --link,
linked, under their own names. The same command goes on where it stopped.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.tasks import HEP2


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("sort", shared="task")
    parser.set_defaults(task=HEP2.name)
    add = parser.add_argument
    add("--images", type=Path, required=True, metavar="FOLDER", help="the flat folder")
    columns = "columns Image ID and Image class, or Id and Target"
    add("--table", type=Path, required=True, metavar="FILE.csv", help=columns)
    add("--out", type=Path, required=True, metavar="FOLDER", help="folder of the class folders")
    add("--link", action="store_true", help="make hard links instead of copies, or symbolic links on other disks")
    return parser


def work(options: argparse.Namespace) -> None:
    """Sort the images and print how many each class has."""
    from hpa.data.sorting import sort_images

    count_of, written = sort_images(options.images, options.table, options.out, options.task, options.link)
    width = max(map(len, count_of))
    for name, count in count_of.items():
        print(f"{name:{width}} {count:6}")
    print(f"{options.out}: {sum(count_of.values())} samples, {written} files {'linked' if options.link else 'copied'} now")


main = command.main(__name__, build_parser, work)
