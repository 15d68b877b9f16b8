"""`python -m hpa.finetune --variant N --stage cnn|dnn|dnn2`: go on from the stage before with one part frozen."""

import argparse
from collections.abc import Sequence

from hpa import command
from hpa.training.stages import STAGES, run_name


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "finetune",
        "Fine-tune a model from the stage before: cnn from base, dnn from cnn, dnn2 from dnn. What no option sets is "
        "taken from the stage's table or the run it starts from, short of what the stage's loss has no use for.",
    )
    command.add_folders(parser)
    command.add_training(parser)
    parser.add_argument(
        "--stage", required=True, choices=[stage.name for stage in STAGES.values() if stage.start], help="the stage"
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Fine-tune."""
    from hpa.training.choice import stage_settings, variant_of
    from hpa.training.runs import read_settings, read_task_of

    stage = STAGES[options.stage]
    model = options.model or "gapnet"
    name = run_name(options.name, model, variant_of(model, options.variant), options.fold or 0)
    start = options.runs / name / stage.start
    task = read_task_of(start)
    settings = stage_settings(read_settings(start), stage, vars(options), task)
    with command.quiet_import():
        from hpa.training.train import train

    train(settings, task, options.data, options.runs, name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
