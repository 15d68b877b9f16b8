"""`python -m hpa.duplicates --data FOLDER`: find exact and near-exact copies of images, within and across the sets.

The sets are those of `train/`, `external/`, `external-<any name>/`, `validation/` and `test/` that exist. Prints how many
pairs of images are copies of each other, and whether their labels agree. `hpa/data/duplicates.py` defines near-exact copies.
With the CSV, `python -m hpa.train --groups FILE.csv` keeps all copies of an image in one fold.
"""

import argparse
from pathlib import Path

from hpa import command


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("duplicates", "Copies are exact or near-exact.", "data task")
    help = "write the copies: columns Id, group, set, kind and label"
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help=help)
    help = "write a picture of the first 160, near copies first"
    parser.add_argument("--contact-sheet", type=Path, metavar="FILE.png", help=help)
    return parser


def work(options: argparse.Namespace) -> None:
    """Find the copies, print how many there are and which labels clash, and write the table and the picture if asked for."""
    from hpa.data.duplicates import copies_table, describe, read_sets
    from hpa.data.layout import data_paths
    from hpa.files import write_csv
    from hpa.scoring.plots import draw_copies, write_figure

    for option, path in (("--out", options.out), ("--contact-sheet", options.contact_sheet)):
        if path:
            command.require_output(options, path, data_paths(options.data), option)
    sets = read_sets(options.data, options.task)
    copies, pairs = copies_table(options.data, sets, options.task)
    print(f"looked at {', '.join(f'{name} ({len(table)} images)' for name, table in sets.items())}")
    print(describe(copies, pairs))
    if options.out:
        write_csv(options.out, copies[["Id", "group", "set", "kind", "label"]])
        print(f"wrote {options.out}")
    if options.contact_sheet and len(copies):
        write_figure(options.contact_sheet, draw_copies(copies, options.task))
        print(f"wrote {options.contact_sheet}")


main = command.main(__name__, build_parser, work)
