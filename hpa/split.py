"""`python -m hpa.split`: distribute the rows of a training table over folds, every class evenly, and write them as a CSV.

Prints how many rows of each class every fold gets. Needs the table only, no image.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.options import add_settings


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("split", "Every class is distributed evenly.", "task data")
    add = parser.add_argument
    add("--table", type=Path, metavar="FILE.csv", help="the table, instead of the data's training set")
    add("--folds", type=command.positive_integer, default=5, metavar="NUMBER", help="how many folds")
    add("--split-seed", type=command.whole_number, default=0, metavar="NUMBER", help="seed of the folds")
    add_settings(parser, ["groups"], lambda _, own: f"default: {own.unset}")
    add("--out", type=Path, default=Path("runs/split.csv"), metavar="FILE.csv", help="columns Id and fold")
    return parser


def work(options: argparse.Namespace) -> None:
    """Split the table, print the shares and write the file."""
    from hpa.data.layout import data_paths
    from hpa.data.splits import describe_shares, make_folds, share_table, write_split
    from hpa.data.tables import read_labelled

    command.require_output(options, options.out, data_paths(options.data))
    table = read_labelled(options.data / "train", options.task, options.table)
    fold_of_row = make_folds(table, options.folds, options.split_seed, options.groups)
    write_split(options.out, table.ids, fold_of_row)
    print(describe_shares(share_table(table.known_targets, fold_of_row, options.task.classes), fold_of_row))
    print(f"wrote {options.out}")


main = command.main(__name__, build_parser, work)
