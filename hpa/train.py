"""`python -m hpa.train --variant N`: train a base model; the same command goes on where it stopped."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command
from hpa.options import add_settings, given_settings, in_presets
from hpa.settings import NAMES, Settings
from hpa.tasks import Task
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

        settings = resolve(options.preset, given, task, data, runs)
        command.require_output(options, options.show_augmentation, data_paths(data), "--show-augmentation")
        show_augmentation(options.show_augmentation, settings, task, data)
        return
    settings, name = base_run(options.preset, given, task, data, runs, options.name)
    if options.check_only:
        print(f"{plan(settings, task, data, runs, name).folder}: settings and tables fit")
        return
    with command.quiet_import():
        from hpa.training.train import train

    train(settings, task, data, runs, name, preset_name(options.preset, task))


def show_augmentation(path: Path, settings: Settings, task: Task, data: Path) -> None:
    """Write the picture of the first sample's augmentation."""
    from hpa.data.images import read_image
    from hpa.data.intensity import measure
    from hpa.data.layout import find_files
    from hpa.data.overview import write_picture
    from hpa.data.tables import read_samples
    from hpa.resources import require_picture

    of_picture, of_channel = 60, 120  # bytes of memory for a pixel of an image, as measured
    require_picture(settings.size, of_picture + of_channel * len(task.channels), "a picture of images")
    ids = read_samples(data, "train", task).ids[:1]
    [files] = find_files(data / "train", ids, task)
    ranges = settings.intensity_range or measure(data / "train", [files])
    write_picture(path, read_image(files, settings.size, ranges), settings.augmentation, settings.seed)
    print(f"{path}: sample {ids[0]} and sixteen augmentations of it")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
