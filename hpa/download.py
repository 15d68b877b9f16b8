"""Fetch public images of the Human Protein Atlas by a table of their ids: `python -m hpa.download --table FILE.csv`.

Their ids are `<antibody>_<plate>_<well>_<field>`. Writes grey PNGs in the competition's layout to `external/`, the labels of
those that are there to `external.csv`, and what failed to `external-failed.csv`. Run again, it goes on: what is there and
agrees with its checksum is not fetched again.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from hpa import command


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m hpa.download`."""
    parser = command.parser("download", "Fetch public images of the Human Protein Atlas by a table of their ids.")
    parser.add_argument(
        "--table", type=Path, required=True, metavar="FILE.csv", help="columns Id and Target, such as HPAv18RBGY_wodpl.csv"
    )
    parser.add_argument(
        "--data", type=Path, default=Path("data"), metavar="FOLDER", help="folder of the data, which gets external/"
    )
    parser.add_argument(
        "--base-url", default="http://v18.proteinatlas.org/images", metavar="URL", help="where the antibodies' folders lie"
    )
    parser.add_argument(
        "--rate", type=command.positive_number, default=4.0, metavar="NUMBER", help="requests a second, at most"
    )
    parser.add_argument(
        "--size", type=command.positive_integer, default=512, metavar="PIXELS", help="side to which larger images are shrunk"
    )
    return parser


def work(options: argparse.Namespace) -> None:
    """Fetch the images and say how many there are."""
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
        raise Failure(
            f"{len(failed)} samples failed; {options.data / 'external-failed.csv'} has the reasons, "
            "and the same command tries them again"
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
