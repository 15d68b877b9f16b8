"""`python -m hpa.svm --name NAME`: replace a finished run's dense head by a support vector machine (SVM)."""

import argparse
from collections.abc import Sequence

from hpa import command
from hpa.settings import STAGES, SVM_KERNELS


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "svm",
        "Replace a finished run's dense head by a support vector machine (SVM). The result is the run "
        "<runs>/<name>-svm-<kernel>/base. Predict, blend and evaluate it like any other run.",
    )
    command.add_folders(parser)
    parser.add_argument("--name", type=command.run_name, required=True, help="name of the run that gives the features")
    parser.add_argument("--stage", choices=("last", *STAGES), default="last", help="which stage of it")
    parser.add_argument(
        "--kernel",
        choices=SVM_KERNELS,
        default="rbf",
        help="radial basis functions (their time grows with the square of the number of rows), or linear",
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Replace the head."""
    from hpa.runs.folder import run_folders

    [source] = run_folders(options.runs, [options.name], options.stage, all_folds=False)
    with command.quiet_import():
        from hpa.training.svm import replace_head

    replace_head(source, options.data, options.runs, options.kernel)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
