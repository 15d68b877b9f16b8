"""`python -m hpa.finetune --variant N --stage cnn|dnn|dnn2`: go on from the stage before with one part frozen."""

import argparse
from collections.abc import Sequence

from hpa import command
from hpa.errors import refuse
from hpa.settings import STAGES, run_name


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
    command.add_check_only(parser)
    return parser


def work(options: argparse.Namespace) -> None:
    """Fine-tune."""
    from hpa.runs.folder import read_settings, read_task_of, require_own_name
    from hpa.training.choice import stage_settings, variant_of

    stage = STAGES[options.stage]
    model = options.model or "gapnet"
    variant = None if options.name else variant_of(model, options.variant)
    name = run_name(options.name, model, variant, options.fold or 0)
    start = options.runs / name / stage.start
    task, own = read_task_of(start), read_settings(start)
    given = {each: getattr(options, each) for each in ("model", "variant", "fold")}
    differing = [each for each, value in given.items() if value not in (None, getattr(own, each))]
    refuse(
        start,
        [f"was made with {each} {getattr(own, each)}, not --{each} {given[each]}; leave that out" for each in differing],
    )
    require_own_name(start)
    settings = stage_settings(own, stage, vars(options), task)
    if options.check_only:
        from hpa.training.plan import plan

        print(f"{plan(settings, task, options.data, options.runs, name).folder}: settings and tables fit")
        return
    with command.quiet_import():
        from hpa.training.train import train

    train(settings, task, options.data, options.runs, name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
