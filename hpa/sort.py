"""`python -m hpa.sort`: sort a flat folder of images into class folders by a table of classes.

For example `python -m hpa.sort --images cells --table gt_training.csv --out data/train`. Files keep their names and stay
where they are: what is made are copies or, with --link, links. The same command goes on where it was stopped.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command
from hpa.tasks import HEP2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command's options."""
    parser = command.parser("sort", "Sort a flat folder of images into class folders by a table of classes.")
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER", help="the flat folder")
    parser.add_argument(
        "--table", type=Path, required=True, metavar="FILE.csv", help="columns Image ID and Image class, or Id and Target"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the class folders")
    command.add_task(parser)
    parser.set_defaults(task=HEP2.name)
    parser.add_argument(
        "--link", action="store_true", help="make hard links, or symbolic ones where those cannot be, in place of copies"
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Sort the images and say how many each class has."""
    from hpa.data.sorting import sort_images

    count_of, written = sort_images(options.images, options.table, options.out, options.task, options.link)
    width = max(map(len, count_of))
    for name, count in count_of.items():
        print(f"{name:{width}} {count:6}")
    print(f"{options.out}: {sum(count_of.values())} samples, {written} files {'linked' if options.link else 'copied'} now")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
