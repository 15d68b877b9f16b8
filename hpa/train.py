"""`python -m hpa.train --variant N`: train a base model; the same command goes on where it stopped."""

import argparse
from pathlib import Path

from hpa import command
from hpa.options import add_settings, given_settings, in_presets
from hpa.settings import NAMES
from hpa.training.presets import PRESETS


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    more = "Its run folder is <runs>/<name>/base. An option overrides the preset."
    parser = command.parser("train", more, "task data runs check-only tensorboard devices")
    presets = f"{', '.join(PRESETS)}, or the name of a search"
    help = f"where settings start from: {presets}; if not given, cells for single-label tasks, else report"
    parser.add_argument("--preset", metavar="NAME", help=help)
    parser.add_argument("--name", help="name of the run; if not given, model and variant; the fold is added")
    add_settings(parser, [name for name in NAMES if name != "stage"], in_presets, fold=True)
    help = "train nothing; write a picture of the first training sample augmented sixteen ways"
    parser.add_argument("--show-augmentation", type=Path, metavar="FILE.png", help=help)
    return parser


def work(options: argparse.Namespace) -> None:
    """Train, or write the picture of the augmentation."""
    task, data, runs, given = options.task, options.data, options.runs, given_settings(options)
    if options.show_augmentation:
        from hpa.data.layout import data_paths
        from hpa.data.overview import write_picture_of
        from hpa.training.resolve import resolve

        settings = resolve(options.preset, given, task, data, runs)
        command.require_output(options, options.show_augmentation, data_paths(data), "--show-augmentation")
        shown = (settings.size, settings.intensity_range, settings.augmentation, settings.seed)
        print(write_picture_of(options.show_augmentation, data, task, *shown))
        return
    from hpa.training.plan import base_run

    settings, name = base_run(options.preset, given, task, data, runs, options.name)
    command.train(options, settings, task, name, options.preset or task.kind.preset)


main = command.main(__name__, build_parser, work)
