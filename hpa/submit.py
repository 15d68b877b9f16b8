"""Check a submission against the sample submission, and upload it with the `kaggle` client.

    python -m hpa.submit submissions/ensemble.csv --check-only
    python -m hpa.submit submissions/ensemble.csv -m "six models, shift 0.34"

The client is an extra (`pip install kaggle six`); it finds its credentials by itself.
"""

import argparse
from pathlib import Path

from hpa import command
from hpa.errors import BadInput
from hpa.tasks import HPA

COMPETITION = "human-protein-atlas-image-classification"


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("submit", shared="task data")
    parser.set_defaults(task=None)  # HPA for its own competition; for another one it must be named
    add = parser.add_argument
    add("file", type=Path, metavar="FILE.csv", help="the submission")
    add("-m", "--message", help="what the submissions page says about this entry; needed for an upload")
    add("--sample-submission", type=Path, metavar="FILE", help="instead of the one in --data")
    add("--competition", default=COMPETITION, help="name in Kaggle's addresses; another one needs --task")
    add("--check-only", action="store_true", help="check the file and upload nothing")
    return parser


def work(options: argparse.Namespace) -> None:
    """Check the file, then upload it unless asked not to."""
    if not (options.message or options.check_only):
        raise BadInput('an upload needs a message: add -m "...", or --check-only to upload nothing')
    if options.task is None and options.competition != COMPETITION:
        raise BadInput(f"--competition {options.competition}: say with --task which classes it has")
    from hpa.scoring.kaggle import check, page_of, upload

    sample_submission = options.sample_submission or options.data / "sample_submission.csv"
    check(options.file, sample_submission, options.data / "train", options.task or HPA)
    if options.check_only:
        return
    print("uploading; a dropped connection is tried again for up to six minutes", flush=True)
    reference = upload(options.file, options.message, options.competition)
    print(f"submitted with reference {reference}; its score will be at {page_of(options.competition)}/submissions")


main = command.main(__name__, build_parser, work)
