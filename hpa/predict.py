"""Predict with trained models, reading each image of the test set or of a folder once for all of them.

`python -m hpa.predict` writes `test.npz` into the run folders, for `hpa.ensemble`. With `--tta` it also predicts
`validation.npz` with test-time augmentation and prints how this changes the validation score. `python -m hpa.predict
--images FOLDER` writes one readable CSV for the images of any folder.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.backend import quiet_import
from hpa.errors import BadInput


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("predict", shared="data runs variants stage tta tta-average engine")
    help = "predict the images of this folder, instead of those in --data"
    parser.add_argument("--images", type=Path, metavar="FOLDER", help=help)
    help = (
        "predict only the part K of N parts of the test set, at the same time as others predict other parts, on other "
        "machines too; when all are predicted, the command without it writes test.npz"
    )
    parser.add_argument("--shard", type=command.shard, metavar="K/N", help=help)
    parser.add_argument("--out", type=Path, metavar="FILE.csv", help="with --images: the table to write")
    return parser


def work(options: argparse.Namespace) -> None:
    """Predict."""
    from hpa.runs.folder import run_folders

    folders = run_folders(options.runs, options.variants, options.stage)
    if (options.images is None) != (options.out is None):
        raise BadInput("--images and --out go together: the folder to predict, and the table to write")
    if options.images and options.shard:
        raise BadInput("--shard is for the test set of --data; leave it out")
    if options.images:
        command.require_output(options, options.out)
        with quiet_import():
            from hpa.inference.images import predict_folder

        predict_folder(folders, options.images, options.out, command.tta(options), options.engine)
    else:
        with quiet_import():
            from hpa.inference.predict import predict

        predict(folders, options.data, options.runs, command.tta(options), options.shard, options.engine)


main = command.main(__name__, build_parser, work)
