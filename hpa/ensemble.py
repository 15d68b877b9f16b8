"""Blend the predictions of several models into one submission.

    python -m hpa.ensemble --shift 0.34 --variants 0,1,2,3,4,6

A member is any folder with `validation.npz` and `test.npz`. It weighs as much as its validation macro F1 exceeds `--shift`.
Writes a CSV in the order of the sample submission, and a JSON beside it that says how it came about.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpa import command
from hpa.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

    from hpa.scoring.blend import Ensemble
    from hpa.scoring.members import Members


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m hpa.ensemble`."""
    parser = command.parser("ensemble", "Blend the predictions of several models into one submission.")
    command.add_task(parser)
    command.add_folders(parser)
    command.add_choice(parser)
    add = parser.add_argument
    add("--members", type=Path, nargs="+", metavar="FOLDER", help="blend these folders, in place of --variants and --stage")
    add("--weights", choices=("shifted", "equal"), default="shifted", help="validation F1 minus --shift, or all the same")
    add("--shift", type=float, default=0.34, help="the nearer it is to the members' F1, the more the best of them count")
    add(
        "--threshold",
        type=_threshold,
        default="per-class",
        metavar="per-class|global|NUMBER",
        help="a class is predicted above this probability: the best for each class or the best for all, found on the "
        "validation rows, or a given one",
    )
    add("--sample-submission", type=Path, metavar="FILE", help="in place of the one in --data")
    add("--out", type=Path, default=Path("submissions/ensemble.csv"), metavar="FILE.csv", help="the submission to write")
    return parser


def work(options: argparse.Namespace) -> None:
    """Read the members, blend them, write the submission and print what came of it."""
    if options.members and (options.variants or options.stage != "last"):
        raise BadInput("--members names the folders itself; leave out --variants and --stage")
    if options.out.suffix != ".csv":
        raise BadInput(f"--out {options.out}: the name of a submission ends in .csv")
    from hpa.scoring.blend import blend_members
    from hpa.scoring.members import read_members
    from hpa.training.runs import run_folders

    folders = options.members or run_folders(options.runs, options.variants, options.stage)
    ids = _test_ids(options)
    members = read_members(folders, ids)
    ensemble = blend_members(members, options.weights, options.shift, options.threshold)
    _write(options, ids, members, ensemble)
    _print_result(options, members, ensemble)


def _test_ids(options: argparse.Namespace) -> np.ndarray | None:
    """Return the ids of the test set, None if the data has none."""
    from hpa.data.tables import has_test_set, read_ids, read_sample_submission

    if options.sample_submission:
        return read_sample_submission(options.sample_submission).ids
    return read_ids(options.data, options.task) if has_test_set(options.data) else None


def _write(options: argparse.Namespace, ids: np.ndarray | None, members: Members, ensemble: Ensemble) -> None:
    """Write the CSV, in Kaggle's form for many labels and for people where a sample has one, and the JSON."""
    from hpa.files import write_json
    from hpa.scoring.evaluation import write_prediction_table
    from hpa.scoring.predictions import Predictions
    from hpa.scoring.submission import write_submission

    about = _about(options, members, ensemble)
    if ids is not None and members.labels == "many":
        write_submission(options.out, ids, ensemble.predicted, about)
        return
    if ids is not None:
        predictions = Predictions(ids, members.classes, ensemble.probabilities, labels=members.labels)
        write_prediction_table(options.out, predictions, ensemble.thresholds)
    write_json(options.out.with_suffix(".json"), about)


def _about(options: argparse.Namespace, members: Members, ensemble: Ensemble) -> dict:
    """Return what the JSON beside the submission holds."""
    rows = zip(members.names, ensemble.member_f1.tolist(), ensemble.weights.tolist(), strict=True)
    return {
        "members": [{"folder": name, "validation_f1": f1, "weight": weight} for name, f1, weight in rows],
        "weights": options.weights,
        "shift": options.shift if options.weights == "shifted" else None,
        "threshold": "strongest" if members.labels == "one" else options.threshold,
        "thresholds": dict(zip(members.classes, ensemble.thresholds.tolist(), strict=True)),
        "validation_f1": ensemble.f1,
        "validation_accuracy": ensemble.accuracy,
        "test_rows": len(ensemble.predicted),
        "test_rows_given_their_strongest_class": ensemble.fallbacks,
    }


def _print_result(options: argparse.Namespace, members: Members, ensemble: Ensemble) -> None:
    rows = list(zip(members.names, ensemble.member_f1, ensemble.weights, strict=True))
    width = max(len(name) for name in ("member", *members.names))
    print(f"{'member':{width}}  validation F1  weight")
    for name, f1, weight in rows:
        print(f"{name:{width}}  {f1:13.4f}  {weight:6.4f}")
    ignored = [name for name, _, weight in rows if weight == 0]
    if ignored:
        print(f"weight 0, as F1 is not above the shift {options.shift}: {', '.join(ignored)}")
    best_name, best_f1, _ = max(rows, key=lambda row: row[1])
    print(f"blend: validation macro F1 {ensemble.f1:.4f}; best single member {best_f1:.4f} ({best_name})")
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


def _threshold(text: str) -> str | float:
    if text in ("per-class", "global"):
        return text
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"expected per-class, global or a number between 0 and 1, found '{text}'")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
