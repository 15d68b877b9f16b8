"""`python -m hpa.train --variant N`: train a base model; the same command goes on where it stopped."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command
from hpa.options import add_settings, given_settings, in_presets
from hpa.settings import NAMES
from hpa.training.presets import PRESETS, preset_name


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "train", "Train a base model. Its run folder is <runs>/<name>/base. An option overrides the preset."
    )
    command.add_task(parser)
    command.add_folders(parser)
    add = parser.add_argument
    add(
        "--preset",
        metavar="NAME",
        help=f"where settings start from: {', '.join(PRESETS)}, or the name of a search; if not given, cells for one label "
        "a sample, else report",
    )
    add("--name", type=command.run_name, help="name of the run; if not given, model and variant; the fold is added")
    add_settings(parser, [name for name in NAMES if name != "stage"], in_presets, fold=True)
    add(
        "--show-augmentation",
        type=Path,
        metavar="FILE.png",
        help="train nothing; write a picture of the first training sample augmented sixteen ways",
    )
    command.add_check_only(parser)
    return parser


def work(options: argparse.Namespace) -> None:
    """Train, or write the picture of the augmentation."""
    from hpa.training.plan import base_run, plan
    from hpa.training.resolve import resolve

    task, data, runs, given = options.task, options.data, options.runs, given_settings(options)
    if options.show_augmentation:
        from hpa.data.layout import data_paths
        from hpa.data.overview import write_picture_of

        settings = resolve(options.preset, given, task, data, runs)
        command.require_output(options, options.show_augmentation, data_paths(data), "--show-augmentation")
        shown = (settings.size, settings.intensity_range, settings.augmentation, settings.seed)
        print(write_picture_of(options.show_augmentation, data, task, *shown))
        return
    settings, name = base_run(options.preset, given, task, data, runs, options.name)
    if options.check_only:
        print(f"{plan(settings, task, data, runs, name).folder}: settings and tables fit")
        return
    with command.quiet_import():
        from hpa.training.train import train

    train(settings, task, data, runs, name, preset_name(options.preset, task))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
