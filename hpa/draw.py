"""Draw cells in the competition's own file layout, or one picture that shows what the 28 classes look like.

For example `python -m hpa.draw --out data --train 600 --test 200 --size 128` or
`python -m hpa.draw --contact-sheet classes.png --size 256`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command's options."""
    parser = command.parser("draw", "Draw cells in the competition's own layout, or a picture of the 28 classes.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the data set to write")
    what.add_argument("--contact-sheet", type=Path, metavar="FILE.png", help="picture of all classes to write")
    parser.add_argument("--train", type=command.positive_integer, default=600, metavar="N", help="training fields")
    parser.add_argument("--test", type=command.positive_integer, default=200, metavar="N", help="test fields")
    parser.add_argument("--size", type=command.positive_integer, default=512, metavar="PIXELS", help="size of a field")
    parser.add_argument("--seed", type=command.whole_number, default=0, help="the same seed gives the same pixels")
    return parser


def work(options: argparse.Namespace) -> None:
    """Write the data set or the picture."""
    from hpa.data import drawn

    if options.contact_sheet:
        drawn.contact_sheet(options.contact_sheet, options.size, options.seed)
        print(f"{options.contact_sheet}: the 28 classes at {options.size} pixels")
    else:
        drawn.write_dataset(options.out, options.train, options.test, options.size, options.seed)
        print(f"{options.out}: {options.train} training and {options.test} test fields of {options.size} pixels")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
