"""Draw cells in the layout of a task's real data, or one picture that shows what the task's classes look like.

For example `python -m hpa.draw --out data --train 600 --test 200 --size 128`,
`python -m hpa.draw --task hep2 --out cells --train 1200 --validation 300 --test 300` or
`python -m hpa.draw --contact-sheet classes.png --size 256`.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.errors import BadInput
from hpa.tasks import HEP2, HPA, TASKS

SIZES = {HPA.name: 512, HEP2.name: 78}  # those of the real images


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("draw")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the data set to write")
    what.add_argument("--contact-sheet", type=Path, metavar="FILE.png", help="picture of all classes to write")
    add, count = parser.add_argument, command.positive_integer
    add("--task", choices=SIZES, default=HPA.name, help="fields of many cells, or single HEp-2 cells")
    add("--train", type=count, metavar="N", default=600, help="training images")
    add("--validation", type=count, metavar="N", help=f"validation images, for {HEP2.name} alone; 200 if not given")
    add("--test", type=count, metavar="N", default=200, help="test images")
    sizes = ", ".join(f"{size} for {task}" for task, size in SIZES.items())
    add("--size", type=count, metavar="PIXELS", help=f"side of an image; if not given {sizes}")
    help = f"for {HPA.name}: cells of one field differ; writes label images and the classes of each cell, too"
    add("--single-cells", action="store_true", help=help)
    add("--seed", type=command.whole_number, default=0, help="the same seed gives the same pixels")
    return parser


def work(options: argparse.Namespace) -> None:
    """Write the data set or the picture."""
    from hpa.drawn import fields, hep2

    size = options.size or SIZES[options.task]
    if options.contact_sheet:
        drawing = hep2 if options.task == HEP2.name else fields
        drawing.contact_sheet(options.contact_sheet, size, options.seed)
        print(f"{options.contact_sheet}: the {len(TASKS[options.task].classes)} classes at {size} pixels")
    elif options.task == HEP2.name and options.single_cells:
        raise BadInput(f"--single-cells is for --task {HPA.name}; a {HEP2.name} image is one cell already")
    elif options.task == HEP2.name:
        counts = options.train, options.validation or 200, options.test
        hep2.write_cells(options.out, *counts, size, options.seed)
        print("{}: {} training, {} validation and {} test cells of {} pixels".format(options.out, *counts, size))
    elif options.validation:
        raise BadInput(f"--validation is for --task {HEP2.name}; the competition has no validation set")
    else:
        fields.write_dataset(options.out, options.train, options.test, size, options.seed, options.single_cells)
        print(f"{options.out}: {options.train} training and {options.test} test fields of {size} pixels")


main = command.main(__name__, build_parser, work)
