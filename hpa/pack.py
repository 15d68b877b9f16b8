"""`python -m hpa.pack`: decode, stack and resize the images once, on all cores; training and prediction then just read.

Training and prediction pack what they need by themselves; this command does it ahead of time.
"""

import argparse
from collections.abc import Sequence

from hpa import command
from hpa.options import add_settings


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("pack", "Decode, stack and resize the images of the training and test set, once.")
    command.add_task(parser)
    command.add_folders(parser)
    parser.add_argument(
        "--size",
        type=command.positive_integer,
        help="side of the packed images in pixels; if not given, as hpa.train has it",
    )
    parser.add_argument(
        "--set",
        choices=("train", "test"),
        help="which images: train takes validation and external sets along; if not given, both, as far as they are there",
    )
    add_settings(parser, ["intensity_range"], lambda _, own: f"default: {own.unset}")
    return parser


def work(options: argparse.Namespace) -> None:
    """Pack the sets and print what each store holds."""
    from hpa.data.packing import pack_data
    from hpa.training.presets import preset_name, preset_settings

    size = options.size or preset_settings(preset_name(None, options.task), options.runs)["size"]
    for store in pack_data(options.data, options.runs, options.task, size, options.set, options.intensity_range):
        print(f"{store.folder}: {len(store.ids)} images of {'x'.join(map(str, store.images.shape[1:]))}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
