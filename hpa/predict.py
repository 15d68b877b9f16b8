"""`python -m hpa.predict`: write `test.npz` into the run folders, reading each test image once for all of them."""

import argparse
from collections.abc import Sequence

from hpa import command
from hpa.tasks import HPA


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("predict", "Predict the test set with the models of the chosen runs.")
    command.add_folders(parser)
    command.add_choice(parser)
    return parser


def work(options: argparse.Namespace) -> None:
    """Predict."""
    from hpa.training.runs import run_folders

    folders = run_folders(options.runs, options.variants, options.stage)
    with command.quiet_import():
        from hpa.training.predict import predict

    predict(folders, HPA, options.data, options.runs)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
