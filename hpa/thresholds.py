"""Compare the rules that find thresholds, and save the thresholds of one of them beside the models.

    python -m hpa.thresholds --run runs/0/base
    python -m hpa.thresholds --variants 0,1,2 --rule per-class

The rules are compared on validation rows that they have not seen. What is saved, `thresholds.json` and the table as
`thresholds.csv` in each run folder, is for the mean of these runs' predictions; `hpa.predict`, `hpa.evaluate` and
`hpa.ensemble` use it by themselves.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command
from hpa.errors import BadInput
from hpa.scoring.rules import THRESHOLDS, threshold_rule


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m hpa.thresholds`."""
    parser = command.parser("thresholds", "Compare rules for the thresholds and save one beside the models.")
    add = parser.add_argument
    add("--run", type=Path, nargs="+", metavar="FOLDER", help="run folders, in place of --variants and --stage")
    command.add_folders(parser, data=False)
    command.add_choice(parser)
    add(
        "--rule",
        type=lambda text: text if text == "best" else threshold_rule(text),
        default="best",
        metavar=f"best|{'|'.join(THRESHOLDS)}|NUMBER",
        help="what to save: the best of the table, or the best threshold for each class, the best for all, what predicts "
        "each class as often as it occurs, or a given one",
    )
    add(
        "--shares",
        type=Path,
        metavar="FILE",
        help="for class-share: which share of the samples has each class, a CSV with the columns class and share or a JSON "
        "object of share by class: the name of every class, and a number above 0 and at most 1; if not given the shares of "
        "the validation rows, which stand for those of the training set, as folds share the classes evenly",
    )
    add("--seed", type=command.whole_number, default=0, help="of the folds and resampled rows of the table")
    return parser


def work(options: argparse.Namespace) -> None:
    """Compare the rules, print and write the table, and save the thresholds of one."""
    if options.run and (options.variants or options.stage != "last"):
        raise BadInput("--run names the folders itself; leave out --variants and --stage")
    from hpa.runs.folder import run_folders
    from hpa.scoring.threshold_choice import choose_thresholds

    folders = options.run or run_folders(options.runs, options.variants, options.stage)
    print(choose_thresholds(folders, options.rule, options.shares, options.seed))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
