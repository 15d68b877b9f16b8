"""`python -m hpa.svm --name NAME`: replace a finished run's dense head by a support vector machine (SVM)."""

import argparse

from hpa import command
from hpa.stages import STAGES, SVM_KERNELS


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "svm",
        "The result is the run <runs>/<name>-svm-<kernel>/base. Predict, blend and evaluate it like any other run.",
        "data runs",
    )
    parser.add_argument("--name", required=True, help="name of the run that gives the features")
    parser.add_argument("--stage", choices=("last", *STAGES), default="last", help="which stage of it")
    help = "radial basis functions (their time grows with the square of the number of rows), or linear"
    parser.add_argument("--kernel", choices=SVM_KERNELS, default="rbf", help=help)
    return parser


def work(options: argparse.Namespace) -> None:
    """Replace the head."""
    from hpa.runs.folder import run_folders

    [source] = run_folders(options.runs, [options.name], options.stage, all_folds=False)
    with command.quiet_import():
        from hpa.training.svm import replace_head

    replace_head(source, options.data, options.runs, options.kernel)


main = command.main(__name__, build_parser, work)
