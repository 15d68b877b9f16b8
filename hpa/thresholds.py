"""Compare the rules that find thresholds, and save the thresholds of one of them next to the models.

    python -m hpa.thresholds --run runs/0/base
    python -m hpa.thresholds --variants 0,1,2 --rule per-class

The rules are compared on validation rows that they have not seen. Each run folder gets `thresholds.json`, the thresholds for
the mean of these runs' predictions, and the table as `thresholds.csv`. `hpa.predict`, `hpa.evaluate` and `hpa.ensemble` use
the thresholds by themselves.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.scoring.rules import THRESHOLDS, threshold_rule


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("thresholds", shared="runs variants stage")
    add = parser.add_argument
    command.add_run(parser, command.INSTEAD, required=False)
    add(
        "--rule",
        type=lambda text: text if text == "best" else threshold_rule(text),
        default="best",
        metavar=f"best|{'|'.join(THRESHOLDS)}|NUMBER",
        help="which rule to save: the best of the table, or the best threshold for each class, the best for all, one that "
        "predicts each class as often as it occurs, or a number",
    )
    add(
        "--shares",
        type=Path,
        metavar="FILE",
        help="for class-share: the share of the samples that each class has, above 0 and at most 1, a CSV with the columns "
        "class and share or a JSON object; if not given, the shares of the validation rows, which are those of the training "
        "set in stratified folds",
    )
    add("--seed", type=command.whole_number, default=0, help="of the folds and resampled rows of the table")
    return parser


def work(options: argparse.Namespace) -> None:
    """Compare the rules, print and write the table, and save the thresholds of one."""
    from hpa.scoring.comparison import choose_thresholds

    print(choose_thresholds(command.chosen_folders(options), options.rule, options.shares, options.seed))


main = command.main(__name__, build_parser, work)
