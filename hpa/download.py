"""`python -m hpa.download --table FILE.csv`: download public images of the Human Protein Atlas by a table of their ids.

Their ids are `<antibody>_<plate>_<well>_<field>`. Writes grey PNGs in the competition's layout to `external/`, their labels
to `external.csv`, and failed ids to `external-failed.csv`. Run again, it downloads only images that are missing or do not
agree with their checksums.
"""

import argparse
from pathlib import Path

from hpa import command


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("download", "They are named by a table of their ids.")
    add = parser.add_argument
    columns = "columns Id and Target, such as HPAv18RBGY_wodpl.csv"
    add("--table", type=Path, required=True, metavar="FILE.csv", help=columns)
    folder = "folder of the data, which gets external/"
    add("--data", type=Path, default=Path("data"), metavar="FOLDER", help=folder)
    address = "http://v18.proteinatlas.org/images"
    add("--base-url", default=address, metavar="URL", help="where the antibodies' folders are")
    add("--rate", type=command.positive_number, default=4.0, metavar="NUMBER", help="requests a second, at most")
    side = "side to which larger images are shrunk"
    add("--size", type=command.positive_integer, default=512, metavar="PIXELS", help=side)
    return parser


def work(options: argparse.Namespace) -> None:
    """Download the images and say how many there are."""
    from hpa.data.download import download
    from hpa.data.tables import read_training_table
    from hpa.errors import Failure
    from hpa.files import require_output
    from hpa.tasks import HPA

    for name in ("external.csv", "external-failed.csv"):
        require_output(options.data / name, [options.table], "to write")
    table = read_training_table(options.table, HPA)
    failed = download(table, options.data, options.base_url, options.rate, options.size)
    print(f"{options.data / 'external'}: {len(table) - len(failed)} of {len(table)} samples are there")
    if failed:
        reasons = options.data / "external-failed.csv"
        raise Failure(f"{len(failed)} samples failed; {reasons} has the reasons, and the same command tries them again")


main = command.main(__name__, build_parser, work)
