"""`python -m hpa.train --variant N`: train a base model; the same command goes on where it stopped."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command
from hpa.settings import (
    ACTIVATIONS,
    AUGMENTATIONS,
    DEFAULTS,
    MIXINGS,
    OPTIMIZERS,
    PARTS,
    PRECISIONS,
    SCHEDULES,
    WEIGHTINGS,
    Settings,
    run_name,
)
from hpa.tasks import Task
from hpa.training.presets import FOLDS, PRESETS, preset_name


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "train",
        "Train a base model. Its run folder is <runs>/<name>/base. What no option sets is as the preset says: "
        + "; ".join(f"{name}: {_in_words(preset)}" for name, preset in PRESETS.items())
        + ". What a preset does not name is as in report.",
    )
    command.add_task(parser)
    command.add_folders(parser)
    add = parser.add_argument
    add(
        "--preset",
        metavar="NAME",
        help=f"{', '.join(PRESETS)}, or the name of a search; if not given, cells for one label a sample, else report",
    )
    command.add_training(parser)
    data = parser.add_argument_group("data")
    add = data.add_argument
    add("--size", type=command.positive_integer, help="side of the images in pixels")
    command.add_intensity_range(data)
    add(
        "--folds",
        type=command.positive_integer,
        help=f"number of folds of the training set; if not given, the data's validation set is used, or else {FOLDS} folds",
    )
    add(
        "--split-seed",
        type=command.whole_number,
        help="seed of the folds; apart from --seed, so that models of different seeds share their validation rows",
    )
    command.add_groups(data)
    add(
        "--external-weight",
        type=command.number_from_zero,
        help="learn from external/ and external-<any name>/ in the data folder too, each row weighing this much; 0 for not",
    )
    add("--rows", type=command.positive_integer, help="how many rows to learn from; all if not given")
    add = parser.add_argument_group("network").add_argument
    add("--filters", type=command.positive_integers, metavar="N,N,...", help="filters of each stage of a cellnet")
    add("--blocks", type=command.positive_integers, metavar="N,N,...", help="residual blocks of each stage of a cellnet")
    add("--kernel", type=command.positive_integer, help="side of a cellnet's kernels in pixels")
    add("--dropout", type=command.share, help="dropout rate of a cellnet")
    add("--activation", choices=ACTIVATIONS, help="activation inside the network")
    add("--weights", metavar="FILE|imagenet", help="weights to start from, for alexnet and Keras' own networks")
    add("--part", choices=PARTS, help="what learns; the rest is frozen")
    add(
        "--precision",
        choices=PRECISIONS,
        help="what a new network computes in; mixed_bfloat16 is faster where the processor has matrix units for it",
    )
    add = parser.add_argument_group("learning").add_argument
    add("--seed", type=command.whole_number, help="seed of weights, order, augmentation and dropout")
    add("--optimizer", choices=OPTIMIZERS, help="the optimizer")
    add(
        "--schedule",
        choices=SCHEDULES,
        help="how the learning rate falls: to a tenth on a plateau of validation loss or score, or as a cosine",
    )
    add("--warm-up", type=command.whole_number, help="epochs over which a constant or cosine schedule rises; 0 for none")
    add("--patience", type=command.whole_number, help="end after so many epochs without a better score; 0 for never")
    add("--weight-decay", type=command.share, help="weight decay of the optimizer")
    add("--clip-norm", type=command.number_from_zero, help="largest norm of the gradient over all weights; 0 for any")
    add("--ema-momentum", type=command.share, help="momentum of the moving average of the weights; 0 for none")
    add("--label-smoothing", type=command.share, help="share of each target that is spread over all classes")
    add = parser.add_argument_group("rare classes").add_argument
    add("--positive-weights", choices=WEIGHTINGS, help="what a rare class' positives weigh more in binary-crossentropy")
    add("--class-weights", choices=WEIGHTINGS, help="what a rare class' rows weigh more, with one label a sample")
    add("--oversampling", type=command.share, help="repeat the rows of classes that less than this share has; 0 for none")
    add = parser.add_argument_group("augmentation").add_argument
    add("--augmentation", choices=AUGMENTATIONS, help="how training images vary")
    add("--mixing", choices=MIXINGS, help="how half of the batches are mixed")
    add(
        "--progressive-resizing",
        type=command.share,
        help="share of the epochs, the first, in which a cellnet learns from images of half the pixels, about twice as fast",
    )
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
    from hpa.runs.folder import with_precision_of
    from hpa.settings import require_name
    from hpa.training.choice import base_settings

    settings = base_settings(options.preset, vars(options), options.task, options.data, options.runs)
    if options.show_augmentation:
        from hpa.data.layout import data_paths

        command.require_output(options, options.show_augmentation, data_paths(options.data), "--show-augmentation")
        show_augmentation(options.show_augmentation, settings, options.task, options.data)
        return
    if options.name:
        require_name(options.name, settings.fold)
    name = run_name(options.name, settings.model, settings.variant, settings.fold)
    if options.precision is None:
        settings = with_precision_of(options.runs / name / "base", settings)
    if options.check_only:
        from hpa.training.plan import plan

        made = plan(settings, options.task, options.data, options.runs, name)
        print(f"{made.folder}: settings and tables fit")
        return
    with command.quiet_import():
        from hpa.training.train import train

    train(settings, options.task, options.data, options.runs, name, preset_name(options.preset, options.task))


def _in_words(preset: dict) -> str:
    """Return what a preset sets otherwise than the report's, or, for that one itself, all that it sets."""
    changed = {name: value for name, value in (preset or DEFAULTS).items() if name != "preset"}
    return ", ".join(f"{name.replace('_', '-')} {value}" for name, value in changed.items() if value not in (0, "none"))


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
