"""`python -m hpa.finetune --variant N --stage cnn|dnn|dnn2`: go on from the stage before with one part frozen."""

import argparse

from hpa import command
from hpa.options import add_settings, given_settings, in_stages
from hpa.settings import STAGE_SETTINGS
from hpa.stages import STAGES


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "finetune",
        "The stages are cnn from base, dnn from cnn, dnn2 from dnn. What no option sets is that of the stage, or of the run "
        "that it starts from.",
        "data runs check-only tensorboard devices",
    )
    stages = [stage.name for stage in STAGES.values() if stage.start]
    parser.add_argument("--stage", required=True, choices=stages, help="the stage")
    parser.add_argument("--name", help="name of the run; if not given, model and variant")
    add_settings(parser, STAGE_SETTINGS, in_stages)
    return parser


def work(options: argparse.Namespace) -> None:
    """Fine-tune."""
    from hpa.training.plan import stage_run

    given = {name: value for name, value in given_settings(options).items() if name != "stage"}
    command.train(options, *stage_run(options.stage, given, options.runs, options.name))


main = command.main(__name__, build_parser, work)
