"""`python -m hpa.embed --run FOLDER (--data SET | --images PATH ...) --out FILE`: a network's features, as a table."""

import argparse
from pathlib import Path

from hpa import command
from hpa.backend import quiet_import
from hpa.errors import BadInput
from hpa.options import add_settings
from hpa.tta import TTA


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("embed", "Features are what a network pools before its last layers.", "tta")
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
    parser.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help="also write FILE-known.csv: how likely each image is of a class that the network knows; these features of the "
        "validation set say how near the --reference such images are",
    )
    add_settings(parser, ["groups"], lambda *_: "of the --known images, so that this holds for new groups")
    return parser


def work(options: argparse.Namespace) -> None:
    """Write the features, and the neighbours."""
    if options.reference and not options.neighbours and not options.known:
        raise BadInput("--reference is where --neighbours looks; name their number, too")
    if options.known and not options.reference:
        raise BadInput("--known needs a --reference, say the features of the training set")
    if options.groups and not options.known:
        raise BadInput("--groups is for --known; leave it out")
    tables = [name for name in ("neighbours", "known") if getattr(options, name)]
    for path in [options.out, *(options.out.with_name(f"{options.out.stem}-{name}.csv") for name in tables)]:
        command.require_output(options, path, [options.data] if options.data else [])
    with quiet_import():
        from hpa.inference.embeddings import embed_samples

    where = options.run, options.data, options.images, options.out, options.neighbours, options.reference
    print(embed_samples(*where, options.known, options.groups, TTA(options.tta)))


main = command.main(__name__, build_parser, work)
