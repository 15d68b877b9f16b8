"""`python -m hpa.embed --run FOLDER (--data SET | --images PATH ...) --out FILE`: a network's features, as a table."""

import argparse
from pathlib import Path

from hpa import command
from hpa.backend import quiet_import
from hpa.errors import BadInput


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("embed", "Features are what a network pools before its last layers.", "tta tta-average")
    command.add_run(parser, "run folder", several=False)
    command.add_images(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.npz|.parquet|.h5ad", help="the table to write; the name says how"
    )
    parser.add_argument(
        "--neighbours",
        type=command.positive_integer,
        metavar="N",
        help="also write FILE-neighbours.csv: the N most similar other images of each image",
    )
    parser.add_argument(
        "--reference",
        type=Path,
        metavar="FILE",
        help="look for neighbours in these features, such as those of the training set, written before as .npz",
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Write the features, and the neighbours."""
    if options.reference and not options.neighbours:
        raise BadInput("--reference is where --neighbours looks; name their number, too")
    for path in [
        options.out,
        *([options.out.with_name(f"{options.out.stem}-neighbours.csv")] if options.neighbours else ()),
    ]:
        command.require_output(options, path, [options.data] if options.data else [])
    with quiet_import():
        from hpa.inference.embeddings import embed_samples

    tta = command.tta(options)
    print(embed_samples(options.run, options.data, options.images, options.out, options.neighbours, options.reference, tta))


main = command.main(__name__, build_parser, work)
