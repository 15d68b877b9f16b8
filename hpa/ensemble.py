"""Blend the predictions of several models into one submission.

    python -m hpa.ensemble --shift 0.34 --variants 0,1,2,3,4,6

A member is any folder with `validation.npz` and `test.npz`, or all folds of a run. By default its weight is its validation
macro F1 minus `--shift`. Writes a CSV in the order of the sample submission, and a JSON of the same name with how it was
made. Instead of that, `--compare-weights` compares the rules on rows that they have not seen, and `--sweep-shift
0.30:0.42:0.01` shows the effect of the shift.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.errors import BadInput
from hpa.scoring.rules import WEIGHTS, threshold_rule


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("ensemble", shared="task data runs variants stage")
    parser.set_defaults(task=None)  # that of the members
    add = parser.add_argument
    command.add_run(parser, f"{command.INSTEAD}; any folders with predictions will do", required=False)
    help = "validation F1 minus --shift; all the same; by forward selection with replacement; or by a search for the best F1"
    add("--weights", choices=WEIGHTS, default="shifted", help=help)
    help = "the nearer it is to the members' F1, the larger the weights of the best of them"
    add("--shift", type=float, default=0.34, help=help)
    add(
        "--threshold",
        type=threshold_rule,
        metavar="per-class|global|class-share|NUMBER",
        help="a class is predicted above this probability: the best for each class or the best for all on the validation "
        "rows, one that predicts it as often as it occurs there, or a number; if not given, the rule that hpa.thresholds "
        "saved next to all members, and per-class if they have none in common",
    )
    help = "write and print a table that compares all --weights, no submission"
    add("--compare-weights", action="store_true", help=help)
    help = "write a table and a plot of the macro F1 by shift, no submission"
    add("--sweep-shift", type=_shifts, default=(), metavar="FROM:TO:STEP", help=help)
    add("--seed", type=command.whole_number, default=0, help="of the folds and resampled rows of these tables")
    add("--sample-submission", type=Path, metavar="FILE", help="instead of the one in --data")
    add("--out", type=Path, default=Path("submissions/ensemble.csv"), metavar="FILE.csv", help="the submission to write")
    return parser


def work(options: argparse.Namespace) -> None:
    """Blend the members, write the submission and print how it was made; or compare rules."""
    from hpa.data.layout import data_paths
    from hpa.runs.entry import compare_blends, make_entry

    folders = command.chosen_folders(options)
    if options.out.suffix != ".csv":
        raise BadInput(f"--out {options.out}: the name of a submission ends in .csv")
    for path in (options.out, options.out.with_suffix(".json")):
        command.require_output(options, path, data_paths(options.data))
    source = (folders, options.data, options.task, options.sample_submission)
    if options.compare_weights or options.sweep_shift:
        shifts = options.shift if options.compare_weights else None, options.sweep_shift
        print(compare_blends(*source, options.threshold, options.out, *shifts, options.seed))
        return
    entry = make_entry(*source, options.weights, options.shift, options.threshold)
    written = entry.submission(options.out)
    print(entry)
    print(f"wrote {written}")


def _shifts(text: str) -> list[float]:
    """Read an option such as `0.30:0.42:0.01`, both ends included."""
    try:
        start, stop, step = map(float, text.split(":"))
        count = int((stop - start) / step + 1e-6)
        if step <= 0 or not 1 <= count < 1000:
            raise ValueError
    except (ValueError, ZeroDivisionError, OverflowError):
        expected = "FROM:TO:STEP of 2 to 1,000 shifts, such as 0.30:0.42:0.01"
        raise argparse.ArgumentTypeError(f"expected {expected}, found '{text}'") from None
    return [round(start + step * number, 9) for number in range(count + 1)]


main = command.main(__name__, build_parser, work)
