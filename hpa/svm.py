"""`python -m hpa.svm --run FOLDER`: replace a finished run's dense head by a support vector machine (SVM).

With `--features FILE --out FOLDER` the features are anybody's, and the folder becomes a member of an ensemble.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.errors import BadInput
from hpa.files import require_output
from hpa.stages import SVM_KERNELS


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "svm",
        "The result is the run <name>-svm-<kernel>/base next to it. Predict, blend and evaluate it like any other run.",
        "data",
    )
    command.add_run(parser, "run folder of the network that gives the features; with --features all folds of a run")
    help = "radial basis functions (their time grows with the square of the number of rows), or linear"
    parser.add_argument("--kernel", choices=SVM_KERNELS, default="rbf", help=help)
    help = "learn from these features by id, an .npz as hpa embed writes or a .csv; the run says which rows are for training"
    parser.add_argument("--features", type=Path, metavar="FILE", help=help)
    help = "with --features: write validation.npz and test.npz here, for hpa ensemble --run"
    parser.add_argument("--out", type=Path, metavar="FOLDER", help=help)
    return parser


def work(options: argparse.Namespace) -> None:
    """Replace the head."""
    folders = command.chosen_folders(options)
    if bool(options.features) != bool(options.out):
        raise BadInput("--features and --out go together: the features to learn from, and the folder for the predictions")
    if options.features:
        require_output(options.out / "validation.npz", [options.data, options.features])
        with command.quiet_import():
            from hpa.training.svm import features_member

        print(features_member(folders, options.data, options.features, options.kernel, options.out))
        return
    if len(folders) > 1:
        raise BadInput(f"--run names {len(folders)} folders; name one")
    with command.quiet_import():
        from hpa.training.svm import replace_head

    replace_head(folders[0], options.data, command.runs_of(folders[0]), options.kernel)


main = command.main(__name__, build_parser, work)
