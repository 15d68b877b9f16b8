"""`python -m hpa.duplicates --data FOLDER`: find exact and near-exact copies of images, within and across the sets.

Looks at those of `train/`, `external/`, `external-<any name>/`, `validation/` and `test/` that are there, counts the pairs
of images that are copies of each other, and says whether the copies agree in their labels. What counts as near-exact is told
at the top of `hpa/data/duplicates.py`. With the CSV, `python -m hpa.train --groups FILE.csv` keeps copies on one side of the
split.
"""

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpa import command

if TYPE_CHECKING:
    import pandas as pd

IMAGES_SHOWN = 160
SIDE_SHOWN = 128
CAPTION_WIDTH = 38


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m hpa.duplicates`."""
    parser = command.parser("duplicates", "Find exact and near-exact copies of images, within and across the sets.")
    command.add_folders(parser, runs=False)
    command.add_task(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE.csv", help="write the copies: columns Id, group, set, kind and label"
    )
    parser.add_argument(
        "--contact-sheet", type=Path, metavar="FILE.png", help=f"draw the first {IMAGES_SHOWN}, groups with near ones first"
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Find the copies, print how many there are and which labels clash, and write what is asked for."""
    from hpa.data.duplicates import copies_table, describe, read_sets
    from hpa.data.layout import data_paths
    from hpa.files import written_whole

    for option, path in (("--out", options.out), ("--contact-sheet", options.contact_sheet)):
        if path:
            command.require_output(options, path, data_paths(options.data), option)
    sets = read_sets(options.data, options.task)
    copies, pairs = copies_table(options.data, sets, options.task)
    print(f"looked at {', '.join(f'{name} ({len(table)} images)' for name, table in sets.items())}")
    print(describe(copies, pairs))
    if options.out:
        with written_whole(options.out) as temporary:
            copies[["Id", "group", "set", "kind", "label"]].to_csv(temporary, index=False)
        print(f"wrote {options.out}")
    if options.contact_sheet and len(copies):
        write_sheet(options.contact_sheet, copies)
        print(f"wrote {options.contact_sheet}")


def write_sheet(path: Path, copies: "pd.DataFrame") -> None:
    """Write a picture of the copies, group by group, those with near ones first."""
    import numpy as np

    from hpa.data.images import read_image
    from hpa.data.intensity import measure
    from hpa.scoring.plots import draw_sheet, write_figure

    exact = copies["kind"].eq("exact").groupby(copies["group"]).transform("all")
    shown = copies.iloc[np.argsort(exact, kind="stable")].head(IMAGES_SHOWN)
    ranges = measure("images", shown["files"].tolist())
    images = np.stack([read_image(files, SIDE_SHOWN, ranges) for files in shown["files"]])
    captions = [
        f"{row.kind} {row.group}, {row.set}\n{row.Id}\n{textwrap.shorten(row.label, CAPTION_WIDTH, placeholder=' ...')}"
        for row in shown.itertuples()
    ]
    write_figure(path, draw_sheet(images, captions))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
