"""`python -m hpa.finetune --variant N --stage cnn|dnn|dnn2`: go on from the stage before with one part frozen."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from hpa import command
from hpa.training.stages import SMOOTHED, STAGES, parse_loss, require_loss, run_name


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
    from hpa.training.runs import read_settings, read_task_of

    stage = STAGES[options.stage]
    model = options.model or "gapnet"
    name = run_name(options.name, model, command.variant_of(model, options.variant), options.fold or 0)
    start = options.runs / name / stage.start
    settings = read_settings(start)
    loss = options.loss or stage.loss
    losses = parse_loss(loss)
    settings = replace(
        settings,
        stage=stage.name,
        part=stage.part,
        schedule="constant",
        warm_up=0,
        epochs=options.epochs or stage.epochs,
        batch_size=options.batch_size or settings.batch_size,
        learning_rate=options.learning_rate or stage.learning_rate,
        loss=loss,
        label_smoothing=settings.label_smoothing if losses.keys() & SMOOTHED else 0.0,
        positive_weights=settings.positive_weights if "binary-crossentropy" in losses else "none",
    )
    task = read_task_of(start)
    require_loss(settings.loss, task.labels)
    with command.quiet_import():
        from hpa.training.train import train

    train(settings, task, options.data, options.runs, name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
