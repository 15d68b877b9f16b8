"""`python -m hpa.train --variant N`: train a base model; the same command goes on where it stopped."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command
from hpa.errors import BadInput
from hpa.tasks import HPA
from hpa.training.stages import AUGMENTATIONS, STAGES, Settings


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    base = STAGES["base"]
    parser = command.parser("train", "Train a base model. Its run folder is <runs>/<variant>/base.")
    command.add_folders(parser)
    command.add_training(parser)
    parser.set_defaults(epochs=base.epochs, batch_size=128, learning_rate=base.learning_rate, loss=base.loss)
    parser.add_argument("--size", type=command.positive_integer, default=256, help="side of the images in pixels")
    parser.add_argument("--folds", type=command.positive_integer, default=5, help="number of folds of the training table")
    parser.add_argument(
        "--split-seed",
        type=command.whole_number,
        default=0,
        help="seed of the folds; apart from --seed, so that models of different seeds share their validation rows",
    )
    parser.add_argument(
        "--seed", type=command.whole_number, default=0, help="seed of weights, order, augmentation and dropout"
    )
    parser.add_argument("--augmentation", choices=AUGMENTATIONS, default="report", help="how training images vary")
    parser.add_argument(
        "--show-augmentation",
        type=Path,
        metavar="FILE.png",
        help="train nothing; write a picture of the first training sample augmented sixteen ways",
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Train, or write the picture of the augmentation."""
    if options.show_augmentation:
        show_augmentation(options)
        return
    if options.fold >= options.folds:
        raise BadInput(f"--fold {options.fold} of --folds {options.folds}: folds count from 0")
    settings = Settings(
        model=options.model,
        variant=command.variant_of(options),
        stage="base",
        size=options.size,
        folds=options.folds,
        fold=options.fold,
        split_seed=options.split_seed,
        seed=options.seed,
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        loss=options.loss,
        augmentation=options.augmentation,
    )
    with command.quiet_import():
        from hpa.training.train import train

    train(settings, HPA, options.data, options.runs)


def show_augmentation(options: argparse.Namespace) -> None:
    """Write the picture of the first sample's augmentation."""
    from hpa.data.augment import write_picture
    from hpa.data.images import find_files, read_image
    from hpa.data.tables import read_training_table

    ids = read_training_table(options.data / "train.csv", HPA).ids[:1]
    [files] = find_files(options.data / "train", ids, HPA)
    write_picture(options.show_augmentation, read_image(files, options.size), options.augmentation, options.seed)
    print(f"{options.show_augmentation}: sample {ids[0]} and sixteen augmentations of it")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
