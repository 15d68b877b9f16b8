"""`python -m hpa.explain --run FOLDER ... (--data SET | --images PATH ...) --out FOLDER`: where the networks looked.

Writes for each image a picture and an NPZ with a map for each predicted class, and one table.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.backend import quiet_import


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "explain",
        "Red speaks for a class, blue against it. For networks that end in dense layers with ReLU the maps are exact, they "
        "add up to the logit; others have Grad-CAM.",
        "tta tta-average",
    )
    command.add_run(parser, command.SEVERAL)
    command.add_images(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where to write")
    parser.add_argument(
        "--classes",
        type=command.comma_separated,
        default=(),
        metavar="NAME,...",
        help="what to explain, not what is predicted",
    )
    parser.add_argument(
        "--method", choices=("auto", "exact", "grad-cam"), default="auto", help="auto: exact maps where there are any"
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Write maps and pictures."""
    command.require_output(options, options.out / "explanations.csv", [options.data] if options.data else [])
    with quiet_import():
        from hpa.inference.explain import explain_samples

    folders, tta = command.chosen_folders(options), command.tta(options)
    print(explain_samples(folders, options.data, options.images, options.out, options.classes, tta, options.method))


main = command.main(__name__, build_parser, work)
