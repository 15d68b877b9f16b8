"""`python -m hpa.finetune --variant N --stage cnn|dnn|dnn2`: go on from the stage before with one part frozen."""

import argparse
from collections.abc import Sequence

from hpa import command
from hpa.options import add_settings, given_settings, in_stages
from hpa.settings import STAGE_SETTINGS, STAGES


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "finetune",
        "Fine-tune a model from the stage before: cnn from base, dnn from cnn, dnn2 from dnn. What no option sets is that "
        "of the stage, or of the run that it starts from.",
    )
    command.add_folders(parser)
    parser.add_argument(
        "--stage", required=True, choices=[stage.name for stage in STAGES.values() if stage.start], help="the stage"
    )
    parser.add_argument("--name", type=command.run_name, help="name of the run; if not given, model and variant")
    add_settings(parser, STAGE_SETTINGS, in_stages)
    command.add_check_only(parser)
    return parser


def work(options: argparse.Namespace) -> None:
    """Fine-tune."""
    from hpa.training.plan import plan, stage_run

    data, runs = options.data, options.runs
    given = {name: value for name, value in given_settings(options).items() if name != "stage"}
    settings, task, name = stage_run(options.stage, given, runs, options.name)
    if options.check_only:
        print(f"{plan(settings, task, data, runs, name).folder}: settings and tables fit")
        return
    with command.quiet_import():
        from hpa.training.train import train

    train(settings, task, data, runs, name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
