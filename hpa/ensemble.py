"""Blend the predictions of several models into one submission.

    python -m hpa.ensemble --shift 0.34 --variants 0,1,2,3,4,6

A member is any folder with `validation.npz` and `test.npz`, or all folds of a run. It weighs as much as its validation
macro F1 exceeds `--shift`, or as another rule says. Writes a CSV in the order of the sample submission, and a JSON of the
same name that says how it came about. Instead of that, `--compare-weights` shows what each rule is worth on rows that it
has not seen, and `--sweep-shift 0.30:0.42:0.01` what depends on the shift.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpa import command
from hpa.errors import BadInput
from hpa.scoring.rules import WEIGHTS, threshold_rule

if TYPE_CHECKING:
    import numpy as np

    from hpa.scoring.members import Members
    from hpa.scoring.thresholds import Rule


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m hpa.ensemble`."""
    parser = command.parser("ensemble", "Blend the predictions of several models into one submission.")
    command.add_task(parser)
    parser.set_defaults(task=None)  # that of the members
    command.add_folders(parser)
    command.add_choice(parser)
    add = parser.add_argument
    add("--members", type=Path, nargs="+", metavar="FOLDER", help="blend these folders, in place of --variants and --stage")
    add(
        "--weights",
        choices=WEIGHTS,
        default="shifted",
        help="validation F1 minus --shift; all the same; by forward selection with replacement; or by a search for the "
        "weights of the best macro F1",
    )
    add("--shift", type=float, default=0.34, help="the nearer it is to the members' F1, the more the best of them count")
    add(
        "--threshold",
        type=threshold_rule,
        metavar="per-class|global|class-share|NUMBER",
        help="a class is predicted above this probability: the best for each class or the best for all on the validation "
        "rows, as often as it occurs there, or a given one; if not given, the rule that hpa.thresholds saved beside all "
        "members, and per-class where they have none in common",
    )
    add(
        "--compare-weights",
        action="store_true",
        help="write and print a table of what all --weights are worth, no submission",
    )
    add(
        "--sweep-shift",
        type=_shifts,
        metavar="FROM:TO:STEP",
        help="write a table and a plot of the macro F1 by shift, no submission",
    )
    add("--seed", type=command.whole_number, default=0, help="of the folds and resampled rows of these tables")
    add("--sample-submission", type=Path, metavar="FILE", help="in place of the one in --data")
    add("--out", type=Path, default=Path("submissions/ensemble.csv"), metavar="FILE.csv", help="the submission to write")
    return parser


def work(options: argparse.Namespace) -> None:
    """Blend the members, write the submission and print what came of it."""
    if options.members and (options.variants or options.stage != "last"):
        raise BadInput("--members names the folders itself; leave out --variants and --stage")
    if options.out.suffix != ".csv":
        raise BadInput(f"--out {options.out}: the name of a submission ends in .csv")
    from hpa.data.layout import data_paths
    from hpa.runs.entry import make_entry, read_blend
    from hpa.runs.folder import run_folders

    for path in (options.out, options.out.with_suffix(".json")):
        command.require_output(options, path, data_paths(options.data))
    folders = options.members or run_folders(options.runs, options.variants, options.stage)
    source = (folders, options.data, options.task, options.sample_submission)
    if options.compare_weights or options.sweep_shift:
        _compare(options, *read_blend(*source, options.threshold))
        return
    entry = make_entry(*source, options.weights, options.shift, options.threshold)
    written = entry.submission(options.out)
    print(entry)
    print(f"wrote {written}")


def _compare(options: argparse.Namespace, members: Members, ids: np.ndarray | None, threshold: Rule) -> None:
    """Write and print the tables that are asked for instead of a submission."""
    from hpa.scoring.comparison import compare_weights, sweep_shifts, write_table
    from hpa.scoring.plots import draw_sweep, write_figure

    files = []
    if options.compare_weights:
        table = compare_weights(members, options.shift, threshold, options.seed)
        files.append(options.out.with_name(f"{options.out.stem}-weights.csv"))
        print(write_table(files[-1], table))
        if "shifted" not in table.index:
            print(f"no member's F1 is above the shift {options.shift}, so shifted has no row")
    if options.sweep_shift:
        table = sweep_shifts(members, options.sweep_shift, threshold, options.seed)
        files += [options.out.with_name(f"{options.out.stem}-shifts{suffix}") for suffix in (".csv", ".png")]
        print(write_table(files[-2], table))
        missing = [shift for shift in options.sweep_shift if shift not in table.index]
        if missing:
            print(f"no member's F1 is above the shift from {missing[0]:g} on")
        write_figure(files[-1], draw_sweep(table, f"{len(members.names)} members"))
    print(f"no submission; wrote {', '.join(map(str, files))}")


def _shifts(text: str) -> list[float]:
    """Read an option such as `0.30:0.42:0.01`, both ends included."""
    try:
        start, stop, step = map(float, text.split(":"))
        count = int((stop - start) / step + 1e-6)
        if step <= 0 or not 1 <= count < 1000:
            raise ValueError
    except (ValueError, ZeroDivisionError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"expected FROM:TO:STEP of 2 to 1,000 shifts, such as 0.30:0.42:0.01, found '{text}'"
        ) from None
    return [round(start + step * number, 9) for number in range(count + 1)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
