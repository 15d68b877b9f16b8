"""Blend the predictions of several models into one submission.

    python -m hpa.ensemble --shift 0.34 --variants 0,1,2,3,4,6

A member is any folder with `validation.npz` and `test.npz`, or all folds of a run. It weighs as much as its validation
macro F1 exceeds `--shift`, or as another rule says. Writes a CSV in the order of the sample submission, and a JSON beside
it that says how it came about. Instead of that, `--compare-weights` shows what each rule is worth on rows that it has not
seen, and `--sweep-shift 0.30:0.42:0.01` what hangs on the shift.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpa import command
from hpa.errors import BadInput
from hpa.scoring.rules import WEIGHTS, threshold_rule

if TYPE_CHECKING:
    import numpy as np

    from hpa.scoring.blend import Ensemble
    from hpa.scoring.members import Members
    from hpa.scoring.thresholds import Rule
    from hpa.tasks import Task


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
    """Read the members, blend them, write the submission and print what came of it."""
    if options.members and (options.variants or options.stage != "last"):
        raise BadInput("--members names the folders itself; leave out --variants and --stage")
    if options.out.suffix != ".csv":
        raise BadInput(f"--out {options.out}: the name of a submission ends in .csv")
    from hpa.data.layout import data_paths
    from hpa.runs.folder import run_folders
    from hpa.scoring.blend import blend_members
    from hpa.scoring.members import read_members
    from hpa.scoring.saved_thresholds import saved_choice

    for path in (options.out, options.out.with_suffix(".json")):
        command.require_output(options, path, data_paths(options.data))
    folders = options.members or run_folders(options.runs, options.variants, options.stage)
    ids = _test_ids(options, _task_of_members(options, folders))
    members = read_members(folders, ids)
    _warn_of_copies(members)
    threshold = "strongest" if members.labels == "one" else options.threshold
    if threshold is None:
        threshold, _ = saved_choice(folders, members.classes)
    if options.compare_weights or options.sweep_shift:
        _compare(options, members, threshold)
        return
    ensemble = blend_members(members, options.weights, options.shift, threshold)
    _write(options, ids, members, ensemble, threshold)
    _print_result(options, members, ensemble, threshold)


def _warn_of_copies(members: Members) -> None:
    """Name the members that think the very same of all samples, on the error stream."""
    import hashlib

    first_of: dict[bytes, str] = {}
    for name, probabilities in zip(members.names, members.validation, strict=True):
        first = first_of.setdefault(hashlib.sha256(probabilities.tobytes()).digest(), name)
        if first != name:
            print(f"{name} and {first} are the same model and count twice; leave one of them out", file=sys.stderr)


def _compare(options: argparse.Namespace, members: Members, threshold: Rule) -> None:
    """Write and print the tables that are asked for in place of a submission."""
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


def _task_of_members(options: argparse.Namespace, folders: Sequence[Path]) -> Task | None:
    """Return what the members classify; None if they are of an unknown origin and `--task` does not say it.

    Raises:
        BadInput: if `--task` has other classes than the first member, which all others are compared with.
    """
    from hpa.runs.folder import read_task_of
    from hpa.scoring.predictions import read_predictions
    from hpa.tasks import TASKS

    file = folders[0] / "validation.npz"
    if not file.is_file():  # `read_members` says all that is missing
        return options.task
    first = read_predictions(file)
    if options.task is None:
        with contextlib.suppress(BadInput):
            return read_task_of(folders[0])
        known = {(task.classes, task.labels): task for task in TASKS.values()}
        return known.get((first.classes, first.labels))
    if (options.task.classes, options.task.labels) != (first.classes, first.labels):
        classes = f"{len(first.classes)} classes from '{first.classes[0]}' to '{first.classes[-1]}'"
        raise BadInput(
            f"--task {command.text_of_task(options.task)}: {file} is of another task, with {classes} and {first.labels} "
            "label(s) a sample; leave --task out, or name that one"
        )
    return options.task


def _test_ids(options: argparse.Namespace, task: Task | None) -> np.ndarray | None:
    """Return the ids of the test set, None if the data has none."""
    from hpa.data.tables import has_test_set, read_ids, read_sample_submission

    if options.sample_submission:
        return read_sample_submission(options.sample_submission).ids
    if not has_test_set(options.data):
        return None
    if task is None and not (options.data / "sample_submission.csv").exists():
        raise BadInput("--task: the members do not say how the files of a test image are named; name their task")
    return read_ids(options.data, task)


def _write(
    options: argparse.Namespace, ids: np.ndarray | None, members: Members, ensemble: Ensemble, threshold: Rule
) -> None:
    """Write the CSV, in Kaggle's form for many labels and for people where a sample has one, and the JSON."""
    from hpa.files import write_json
    from hpa.scoring.evaluation import write_prediction_table
    from hpa.scoring.predictions import Predictions
    from hpa.scoring.submission import share_warnings, write_about, write_submission

    about = _about(options, members, ensemble, threshold)
    if ids is not None and members.labels == "many":
        for warning in share_warnings(ensemble.predicted, members.targets, "the validation rows have", members.classes):
            print(f"{options.out}: {warning}", file=sys.stderr)
        write_submission(options.out, ids, ensemble.predicted, about)
        return
    if ids is not None:
        predictions = Predictions(ids, members.classes, ensemble.probabilities, labels=members.labels)
        write_prediction_table(options.out, predictions, ensemble.thresholds)
        write_about(options.out, about)
        return
    write_json(options.out.with_suffix(".json"), about)


def _about(options: argparse.Namespace, members: Members, ensemble: Ensemble, threshold: Rule) -> dict:
    """Return what the JSON beside the submission holds."""
    rows = zip(members.names, ensemble.member_f1.tolist(), ensemble.weights.tolist(), strict=True)
    fallbacks = {"test_rows_given_their_strongest_class": ensemble.fallbacks} if members.labels == "many" else {}
    return {
        "members": [{"folder": name, "validation_f1": f1, "weight": weight} for name, f1, weight in rows],
        "weights": options.weights,
        "shift": options.shift if options.weights == "shifted" else None,
        "threshold": _rule_name(threshold),
        "thresholds": dict(zip(members.classes, ensemble.thresholds.tolist(), strict=True)),
        "validation_f1": ensemble.f1,
        "validation_accuracy": ensemble.accuracy,
        "test_rows": len(ensemble.predicted),
        **fallbacks,
    }


def _print_result(options: argparse.Namespace, members: Members, ensemble: Ensemble, threshold: Rule) -> None:
    rows = list(zip(members.names, ensemble.member_f1, ensemble.weights, strict=True))
    width = max(len(name) for name in ("member", *members.names))
    print(f"{'member':{width}}  validation F1  weight")
    for name, f1, weight in rows:
        print(f"{name:{width}}  {f1:13.4f}  {weight:6.4f}")
    ignored = [name for name, _, weight in rows if weight == 0]
    if ignored:
        why = f", as F1 is not above the shift {options.shift}" if options.weights == "shifted" else ""
        print(f"weight 0{why}: {', '.join(ignored)}")
    best_name, best_f1, _ = max(rows, key=lambda row: row[1])
    print(f"blend: validation macro F1 {ensemble.f1:.4f}; best single member {best_f1:.4f} ({best_name})")
    print(f"weights {options.weights}, thresholds {_rule_name(threshold)}")
    if members.labels == "one":
        print(f"blend: validation accuracy {ensemble.accuracy:.4f}")
    test_rows, fallbacks = len(ensemble.predicted), ensemble.fallbacks
    if not test_rows:
        print(f"no test set; wrote {options.out.with_suffix('.json')}")
        return
    if members.labels == "one":
        print(f"test: {test_rows} rows; wrote {options.out}")
        return
    print(
        f"test: {ensemble.predicted.sum() / test_rows:.2f} classes a row; {fallbacks} of {test_rows} rows "
        f"({fallbacks / test_rows:.1%}) had no class above its threshold and took the strongest"
    )
    print(f"wrote {options.out}")


def _rule_name(threshold: Rule) -> str | float:
    return threshold if isinstance(threshold, str | float) else "class-share"  # by given shares


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
