"""`python -m hpa.cells --run FOLDER ... --images PATH ... --out cells.csv`: the classes of each cell of whole fields.

The networks are those that were trained on fields. Cells come from label images, or from a watershed of our own.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.backend import quiet_import
from hpa.errors import BadInput


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("cells", "The networks are those that were trained on whole fields.", "tta tta-average")
    command.add_run(parser, command.SEVERAL)
    command.add_images(parser, data=False)
    add = parser.add_argument
    add(
        "--masks",
        type=Path,
        metavar="FOLDER",
        help="label images of 8 or 16 bits, by id; a watershed finds cells if not given",
    )
    add("--out", type=Path, required=True, metavar="FILE.csv", help="the table to write, a row for each cell")
    add("--submission", type=Path, metavar="FILE.csv", help="also write the form of Kaggle's single-cell competition")
    add("--overlays", type=Path, metavar="FOLDER", help="also write pictures of the cells and their classes")
    add("--nucleus", type=command.comma_separated, default="blue", metavar="NAME,...", help="channels that show nuclei")
    add("--body", type=command.comma_separated, default="red,yellow", metavar="NAME,...", help="those that fill cells")
    return parser


def work(options: argparse.Namespace) -> None:
    """Write the cells' classes."""
    outputs = {"--out": options.out, "--submission": options.submission}
    for option, path in outputs.items():
        if path:
            command.require_output(options, path, option=option)
    if options.submission == options.out:
        raise BadInput(f"--submission {options.submission}: is --out, too; name another file")
    if options.overlays:
        command.require_output(options, options.overlays / "cell.png", option="--overlays")
    with quiet_import():
        from hpa.inference.cells import cells_of_samples

    found = cells_of_samples(
        command.chosen_folders(options),
        options.images,
        options.masks,
        options.out,
        options.submission,
        options.overlays,
        (options.nucleus, options.body),
        command.tta(options),
    )
    print(found)


main = command.main(__name__, build_parser, work)
