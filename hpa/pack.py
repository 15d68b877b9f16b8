"""`python -m hpa.pack`: decode, stack and resize the images once, on all cores; training and prediction only read them.

Training and prediction also pack the images that they need; this command does it ahead of time.
"""

import argparse

from hpa import command
from hpa.options import add_settings


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("pack", shared="task data runs")
    help = "side of the packed images in pixels; if not given, that of hpa.train"
    parser.add_argument("--size", type=command.positive_integer, help=help)
    help = "which images: train includes validation and external sets; if not given, all that exist"
    parser.add_argument("--set", choices=("train", "test"), help=help)
    help = (
        "pack only the part K of N parts of each set, at the same time as others pack other parts, on other machines too; "
        "when all are packed, the command without it completes them"
    )
    parser.add_argument("--shard", type=command.shard, metavar="K/N", help=help)
    add_settings(parser, ["intensity_range"], lambda _, own: f"default: {own.unset}")
    return parser


def work(options: argparse.Namespace) -> None:
    """Pack the sets and print what each store holds."""
    from hpa.data.packing import pack_data
    from hpa.training.presets import preset_settings

    size = options.size or preset_settings(options.task.kind.preset, options.runs)["size"]
    asked = (options.data, options.runs, options.task, size, options.set, options.intensity_range, options.shard)
    for store in pack_data(*asked):
        print(f"{store.folder}: {len(store.ids)} images of {'x'.join(map(str, store.images.shape[1:]))}")


main = command.main(__name__, build_parser, work)
