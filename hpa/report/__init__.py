"""`python -m hpa.report [--runs RUNS | --run FOLDER ... | --ensemble FILE.json] --out page.html`: one page about runs.

The page is one HTML file that loads nothing: a table of runs, scores and curves of each class, a gallery with heat maps and
similar images, a map of all images, labels to look at again and, for an ensemble, what its members add.
"""

import argparse
from pathlib import Path

from hpa import command


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("report", "It is one HTML file that loads nothing.", "task")
    parser.set_defaults(task=None)
    which = parser.add_mutually_exclusive_group()
    add = which.add_argument
    add("--runs", type=Path, default=Path("runs"), metavar="FOLDER", help="list all runs in here, and show the best of them")
    command.add_run(which, "run folders instead; several are blended with equal weights", required=False)
    add("--ensemble", type=Path, metavar="FILE.json", help="the JSON that hpa ensemble wrote next to its submission instead")
    add = parser.add_argument
    help = "a folder of labelled images to show instead of the validation rows: class folders, or a table next to it"
    add("--data", type=Path, metavar="SET", help=help)
    add("--heat-maps", type=command.whole_number, default=50, metavar="N", help="of how many images, the worst first")
    add("--out", type=Path, required=True, metavar="FILE.html", help="the page to write")
    return parser


def work(options: argparse.Namespace) -> None:
    """Write the page."""
    command.require_output(options, options.out, [*filter(None, [options.data]), *(options.run or ())])
    from hpa.report.page import write_report

    which = options.runs, command.chosen_folders(options) if options.run else (), options.ensemble
    print(write_report(options.out, *which, options.data, options.task, options.heat_maps))


main = command.main(__name__, build_parser, work)
