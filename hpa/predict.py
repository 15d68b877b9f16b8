"""Predict with trained models, reading each image of the test set or of a folder once for all of them.

`python -m hpa.predict` writes `test.npz` into the run folders, for `hpa.ensemble`. With `--tta` it also predicts
`validation.npz` with test-time augmentation and prints how this changes the validation score. `python -m hpa.predict
--images PATH ... --out FILE.csv` writes one readable table for any images, and a picture of the first of them.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.backend import quiet_import
from hpa.errors import BadInput


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("predict", shared="data runs variants stage tta tta-average engine")
    command.add_run(parser, command.INSTEAD, required=False)
    help = f"predict these instead of those in --data: {command.IMAGES}"
    parser.add_argument("--images", type=Path, nargs="+", default=(), metavar="PATH", help=help)
    help = (
        "predict only the part K of N parts of the test set, at the same time as others predict other parts, on other "
        "machines too; when all are predicted, the command without it writes test.npz"
    )
    parser.add_argument("--shard", type=command.shard, metavar="K/N", help=help)
    help = "with --images: the table to write; its first images are shown in FILE.png"
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help=help)
    return parser


def work(options: argparse.Namespace) -> None:
    """Predict."""
    folders = command.chosen_folders(options)
    if bool(options.images) != bool(options.out):
        raise BadInput("--images and --out go together: the images to predict, and the table to write")
    if options.images and options.shard:
        raise BadInput("--shard is for the test set of --data; leave it out")
    if options.images:
        for path in (options.out, options.out.with_suffix(".png")):
            command.require_output(options, path)
        with quiet_import():
            from hpa.inference.images import predict_samples

        print(predict_samples(folders, options.images, options.out, command.tta(options), options.engine))
    else:
        with quiet_import():
            from hpa.inference.predict import predict

        runs = command.runs_of(folders[0]) if options.run else options.runs
        predict(folders, options.data, runs, command.tta(options), options.shard, options.engine)


main = command.main(__name__, build_parser, work)
