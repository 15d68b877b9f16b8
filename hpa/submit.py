"""Check a submission against the sample submission, and upload it with the `kaggle` client.

    python -m hpa.submit submissions/ensemble.csv --check-only
    python -m hpa.submit submissions/ensemble.csv -m "six models, shift 0.34"

The client is an extra (`pip install kaggle six`); it finds its credentials by itself.
"""

import argparse
import contextlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hpa import command
from hpa.errors import BadInput, Failure
from hpa.tasks import HPA, Task

if TYPE_CHECKING:
    import numpy as np

COMPETITION = "human-protein-atlas-image-classification"
CREDENTIALS = (
    "run `kaggle auth login`, or save a token from https://www.kaggle.com/settings/api as ~/.kaggle/access_token "
    "or in the variable KAGGLE_API_TOKEN"
)
HINTS = {
    401: f"Kaggle refuses these credentials; {CREDENTIALS}",
    403: "Kaggle does not let this account submit; accept the rules at {page}/rules, verify the phone number at "
    "https://www.kaggle.com/settings, and look for a typing error in --competition",
    404: "Kaggle has no open competition '{competition}'; correct --competition",
    429: "Kaggle takes no more submissions for now; if today's are used up, try again after midnight UTC",
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m hpa.submit`."""
    parser = command.parser("submit", "Check a submission against the sample submission and upload it to Kaggle.")
    parser.add_argument("file", type=Path, metavar="FILE.csv", help="the submission")
    parser.add_argument("-m", "--message", help="what the submissions page says about this entry; needed for an upload")
    command.add_task(parser)
    parser.set_defaults(task=None)  # HPA's for its competition, to be named for any other
    command.add_folders(parser, runs=False)
    parser.add_argument("--sample-submission", type=Path, metavar="FILE", help="in place of the one in --data")
    parser.add_argument("--competition", default=COMPETITION, help="name in Kaggle's addresses; another one needs --task")
    parser.add_argument("--check-only", action="store_true", help="check the file and upload nothing")
    return parser


def work(options: argparse.Namespace) -> None:
    """Check the file, then upload it unless asked not to."""
    if not (options.message or options.check_only):
        raise BadInput('an upload needs a message: add -m "...", or --check-only to upload nothing')
    if options.task is None and options.competition != COMPETITION:
        raise BadInput(f"--competition {options.competition}: say with --task which classes it has")
    from hpa.scoring.submission import check_submission

    task = options.task or HPA
    sample_submission = options.sample_submission or options.data / "sample_submission.csv"
    predicted = check_submission(options.file, sample_submission, len(task.classes), task.labels)
    print(f"{options.file}: {len(predicted)} rows, {predicted.sum(1).mean():.2f} classes a row, fits {sample_submission}")
    for warning in _share_warnings(predicted, options.data / "train", task):
        print(f"{options.file}: {warning}", file=sys.stderr)
    if options.check_only:
        return
    page = f"https://www.kaggle.com/competitions/{options.competition}"
    print("uploading; a dropped connection is tried again for up to six minutes", flush=True)
    reference = upload(options.file, options.message, options.competition, page)
    print(f"submitted with reference {reference}; its score will stand at {page}/submissions")


def _share_warnings(predicted: "np.ndarray", train: Path, task: Task) -> list[str]:
    """Compare with the labels of the training set, if they are there and are this task's."""
    from hpa.data.tables import read_labelled
    from hpa.scoring.submission import share_warnings

    try:
        targets = read_labelled(train, task).targets
    except BadInput:
        return []
    return share_warnings(predicted, targets, "the training set has", task.classes)


def upload(path: Path, message: str, competition: str, page: str) -> int:
    """Submit `path` and return Kaggle's reference number of the submission.

    Raises:
        Failure: if the client or its credentials are missing, Kaggle refuses, or the connection breaks.
    """
    # What the client prints is kept off the screen: pages of advice, and on a dropped upload the secret upload address.
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import requests
            from kaggle import api
    except ImportError as error:
        raise Failure(f"the kaggle client is not installed ({error}); {sys.executable} -m pip install kaggle six") from error
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            api.authenticate()  # importing did it already, but hid how it failed
            answer = api.competition_submit(str(path), message, competition, quiet=True)
    except SystemExit as error:
        raise Failure(f"no valid Kaggle credentials found; {CREDENTIALS}") from error
    except requests.HTTPError as error:
        status = error.response.status_code
        hint = HINTS.get(status, "Kaggle did not take the submission").format(competition=competition, page=page)
        raise Failure(f"{hint} (HTTP {status}: {' '.join(str(error).split())})") from error
    except (requests.RequestException, ValueError) as error:  # a ValueError where a proxy answers in Kaggle's place
        raise Failure(
            f"no whole answer from Kaggle ({type(error).__name__}); see at {page}/submissions whether the entry is there, "
            "else run the same command again"
        ) from error
    if not answer.ref:
        raise Failure(
            "the upload was dropped before the whole file had arrived, and nothing was submitted; run the same command again"
        )
    return answer.ref


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
