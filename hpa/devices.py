"""`hpa devices`: show what networks run on here, and why a GPU is not used."""

import argparse

from hpa import command


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    return command.parser("devices")


def work(options: argparse.Namespace) -> None:
    """Show them."""
    from hpa.hardware import overview

    print(overview())


main = command.main(__name__, build_parser, work)
