"""Check a submission, and upload it with Kaggle's own client, an extra (`pip install kaggle six`)."""

import contextlib
import io
import logging
import sys
from pathlib import Path

import numpy as np

from hpa.data.tables import read_labelled
from hpa.errors import BadInput, Failure
from hpa.scoring.submission import check_submission, share_warnings
from hpa.tasks import Task

logger = logging.getLogger(__name__)

CREDENTIALS = (
    "run `kaggle auth login`, or save a token from https://www.kaggle.com/settings/api as ~/.kaggle/access_token "
    "or in the variable KAGGLE_API_TOKEN"
)
HINTS = {
    401: f"Kaggle refuses these credentials; {CREDENTIALS}",
    403: "Kaggle does not let this account submit; accept the rules at {page}/rules, verify the phone number at "
    "https://www.kaggle.com/settings, and look for a typing error in the name of the competition",
    404: "Kaggle has no open competition '{competition}'; correct the name",
    429: "Kaggle takes no more submissions for now; if today's are used up, try again after midnight UTC",
}


def check(path: Path, sample_submission: Path, train: Path, task: Task) -> np.ndarray:
    """Return the predictions of a submission, uint8 [n, classes], and warn if class shares are unlike those of `train`.

    Raises:
        BadInput: naming every fault, see `check_submission`.
    """
    predicted = check_submission(path, sample_submission, len(task.classes), task.labels)
    logger.info("%s: %d rows, %.2f classes a row, fits %s", path, len(predicted), predicted.sum(1).mean(), sample_submission)
    with contextlib.suppress(BadInput):  # without labels of the training set, or with those of another task
        targets = read_labelled(train, task).known_targets
        for warning in share_warnings(predicted, targets, "the training set has", task.classes):
            logger.warning("%s: %s", path, warning)
    return predicted


def upload(path: Path, message: str, competition: str) -> int:
    """Submit `path` and return Kaggle's reference number of the submission.

    Raises:
        Failure: if the client or its credentials are missing, Kaggle refuses, or the connection breaks.
    """
    page = page_of(competition)
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
        status = getattr(error.response, "status_code", 0)
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


def page_of(competition: str) -> str:
    """Return the address of a competition."""
    return f"https://www.kaggle.com/competitions/{competition}"
