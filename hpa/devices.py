"""`hpa devices`: show what networks run on here, and why a GPU is not used."""

import argparse
from collections.abc import Sequence

from hpa import command


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    return command.parser(
        "devices", "Show the devices that networks run on, their precision, and the versions of the libraries."
    )


def work(options: argparse.Namespace) -> None:
    """Show them."""
    from hpa.hardware import overview

    print(overview())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
