"""What every command shares: the way it starts, the way it fails, and the options that several of them have."""

import argparse
import errno
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from hpa.errors import BadInput


def run(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], None], argv: Sequence[str] | None) -> int:
    """Parse `argv`, do the `work` and return the exit code: 0 done, 2 bad input or option, 1 anything else."""
    options = parser.parse_args(argv)
    try:
        work(options)
    except BadInput as error:
        return _fail(parser, str(error), 2)
    except KeyboardInterrupt:
        return _fail(parser, "interrupted; the same command goes on where it stopped", 1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(parser, f"the disk is full ({error.filename or 'while writing'}); "
                                 "free some space and run the same command again, it goes on where it stopped", 1)
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return _fail(parser, f"{error.filename}: {error.strerror}", 1)
        raise
    return 0


def _fail(parser: argparse.ArgumentParser, text: str, code: int) -> int:
    print(f"{parser.prog}: {text}", file=sys.stderr)
    return code


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of the command `python -m hpa.<name>`; every option's help ends with its default."""
    return argparse.ArgumentParser(
        prog=f"hpa.{name}", description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )


def add_folders(parser: argparse.ArgumentParser, data: bool = True, runs: bool = True) -> None:
    """Add `--data` and `--runs`."""
    if data:
        parser.add_argument("--data", type=Path, default=Path("data"), metavar="FOLDER",
                            help="folder in the competition's layout: train/, train.csv, test/, sample_submission.csv")
    if runs:
        parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="FOLDER",
                            help="folder of the run folders and the packed images")


def positive_integer(text: str) -> int:
    """Read an option that counts something."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found '{text}'")
    return int(text)


def comma_separated(text: str) -> list[str]:
    """Read an option such as `0,1,2`."""
    parts = [part.strip() for part in text.split(",")]
    if "" in parts or len(set(parts)) != len(parts):
        raise argparse.ArgumentTypeError(f"expected distinct names parted by commas, found '{text}'")
    return parts
