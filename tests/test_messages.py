import logging
import subprocess
import sys
from pathlib import Path

import pytest

import hpa  # noqa: F401

ROOT = Path(__file__).resolve().parents[1]
LOGGER = logging.getLogger("hpa.training.fit")


def test_news_and_warnings_have_their_streams(capsys):
    LOGGER.info("epoch %d of %d", 1, 2)
    LOGGER.warning("a label is missing")
    assert capsys.readouterr() == ("epoch 1 of 2\n", "a label is missing\n")


def test_news_can_be_turned_off(capsys):
    logger = logging.getLogger("hpa")
    logger.setLevel(logging.WARNING)
    try:
        LOGGER.info("epoch 1")
        LOGGER.warning("a label is missing")
    finally:
        logger.setLevel(logging.INFO)
    assert capsys.readouterr() == ("", "a label is missing\n")


def test_a_closed_pipe_is_not_hidden(monkeypatch):
    class Closed:
        def write(self, text):
            raise BrokenPipeError

        flush = write

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(BrokenPipeError):
        LOGGER.info("epoch 1")


@pytest.mark.parametrize(
    ("before", "out", "err"),
    [
        ("pass", "news\n", ""),
        ("logging.getLogger('hpa').addHandler(logging.StreamHandler())", "", ""),
        (
            "logging.basicConfig(format='%(name)s %(message)s'); logging.getLogger('hpa').setLevel('INFO')",
            "",
            "hpa.x news\n",
        ),
    ],
)
def test_what_a_program_configured_before_stays(before, out, err):
    script = f"import logging; {before}; import hpa; logging.getLogger('hpa.x').info('news')"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (out, err)
