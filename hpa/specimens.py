"""`python -m hpa.specimens --data FOLDER`: find the specimens, or other batches, that the ids of the samples run by.

Prints how many each class seems to have and how sure that is, and writes them for `python -m hpa.train --groups`.
`hpa/data/specimens.py` says how they are found.
"""

import argparse
from pathlib import Path

from hpa import command


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    more = "Ids are numbers that run by batch, and images of a batch look alike."
    parser = command.parser("specimens", more, "data task")
    add = parser.add_argument
    help = "the fewest samples that a specimen has; a smaller one stays with a neighbour"
    add("--smallest", type=command.positive_integer, default=20, metavar="NUMBER", help=help)
    help = "columns Id, group and set, for --groups"
    add("--out", type=Path, default=Path("specimens.csv"), metavar="FILE.csv", help=help)
    add("--cuts", type=Path, metavar="FILE.csv", help="write the evidence for every cut too")
    return parser


def work(options: argparse.Namespace) -> None:
    """Find the specimens, print how many there are, and write them and the evidence."""
    from hpa.data.layout import data_paths
    from hpa.data.specimens import find_specimens
    from hpa.files import write_csv

    for option, path in (("--out", options.out), ("--cuts", options.cuts)):
        if path:
            command.require_output(options, path, data_paths(options.data), option)
    found = find_specimens(options.data, options.task, options.smallest)
    print(found.series.to_string(index=False, float_format="{:.1f}".format))
    write_csv(options.out, found.samples)
    if options.cuts:
        write_csv(options.cuts, found.cuts, float_format="%.4g")
    print(f"wrote {options.out}")


main = command.main(__name__, build_parser, work)
