import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from kaggle_server import CREATE, INTROSPECT, KEY, PUT, START, environment

from hpa.submit import main

ROOT = Path(__file__).parents[1]
needs_client = pytest.mark.skipif(importlib.util.find_spec("kaggle") is None, reason="the kaggle client is not installed")

CONTENT = "Id,Predicted\n" + "".join(f"cell{row},{row % 28} 27\n" for row in range(27))
MESSAGE = "models 0 to 3, shift 0.34"
PAGE = "https://www.kaggle.com/competitions/human-protein-atlas-image-classification"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sample_submission.csv").write_text(
        "Id,Predicted\n" + "".join(f"cell{row},0\n" for row in range(27))
    )
    (tmp_path / "entry.csv").write_text(CONTENT)
    return tmp_path


LEGACY_KEY = {"KAGGLE_USERNAME": "somebody", "KAGGLE_KEY": KEY}
TOKEN = {"KAGGLE_API_TOKEN": KEY}


def submit(folder, *options, server=None, credentials=LEGACY_KEY, modules=None):
    """Run the command as a user does, who has no other credentials and no way to any other machine."""
    path = {"PYTHONPATH": os.pathsep.join(filter(None, [str(modules or ""), str(ROOT)]))}
    command = [sys.executable, "-m", "hpa.submit", "entry.csv", *options]
    result = subprocess.run(
        command,
        cwd=folder,
        env=environment(folder / "home", server) | path | credentials,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert KEY not in result.stdout + result.stderr
    return result


def assert_hint(result, *words):
    assert result.returncode == 1
    assert result.stderr.startswith("hpa.submit: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr
    assert result.stdout.count("\n") == 2  # the check, and that an upload is tried: nothing of what the client prints
    assert "submitted with reference" not in result.stdout


@needs_client
@pytest.mark.parametrize(("credentials", "calls"), [(LEGACY_KEY, []), (TOKEN, [INTROSPECT, INTROSPECT])])
def test_the_file_and_the_message_arrive(folder, kaggle, credentials, calls):
    result = submit(folder, "-m", MESSAGE, server=kaggle, credentials=credentials)
    assert (result.returncode, result.stderr) == (0, "")
    assert "4711" in result.stdout
    assert f"{PAGE}/submissions" in result.stdout
    assert kaggle.calls == [*calls, START, PUT, CREATE]
    assert kaggle.uploaded == CONTENT.encode()
    assert kaggle.requests[START]["competitionName"] == PAGE.rsplit("/", 1)[1]
    assert kaggle.requests[START]["fileName"] == "entry.csv"
    assert kaggle.requests[CREATE]["submissionDescription"] == MESSAGE
    assert kaggle.requests[CREATE]["blobFileTokens"] == "token-of-the-file"


@needs_client
def test_an_upload_that_is_dropped_once_still_arrives_whole(folder, kaggle):
    kaggle.faults[PUT] = "drop"
    result = submit(folder, "-m", MESSAGE, server=kaggle)
    assert (result.returncode, result.stderr) == (0, "")
    assert kaggle.calls == [START, PUT, PUT, CREATE]
    assert kaggle.uploaded == CONTENT.encode()


@needs_client
@pytest.mark.parametrize(
    ("call", "fault", "words"),
    [
        (START, 401, ["credentials", "kaggle auth login", "(HTTP 401: Kaggle's own words on 401)"]),
        (START, 403, [f"rules at {PAGE}/rules", "phone number"]),
        (START, 404, ["no open competition 'human-protein-atlas-image-classification'"]),
        (START, 429, ["midnight UTC"]),
        (CREATE, 429, ["midnight UTC"]),
        (CREATE, 400, ["did not take the submission (HTTP 400: Kaggle's own words on 400)"]),
        (START, "drop", [f"see at {PAGE}/submissions", "run the same command again"]),
        (CREATE, "drop", [f"see at {PAGE}/submissions", "run the same command again"]),
        (START, "page", ["no whole answer from Kaggle"]),
        (PUT, "cut", ["upload was dropped", "nothing was submitted"]),
    ],
)
def test_a_refusal_or_a_dropped_connection_gives_a_hint(folder, kaggle, call, fault, words):
    kaggle.faults[call] = fault
    assert_hint(submit(folder, "-m", MESSAGE, server=kaggle), *words)
    assert kaggle.calls == [START, PUT, CREATE][: [START, PUT, CREATE].index(call) + 1]


@needs_client
@pytest.mark.parametrize(("status", "words"), [(401, "refuses these credentials"), (404, "no valid Kaggle credentials")])
def test_a_token_that_kaggle_does_not_know_gives_a_hint(folder, kaggle, status, words):
    kaggle.faults[INTROSPECT] = status
    assert_hint(submit(folder, "-m", MESSAGE, server=kaggle, credentials=TOKEN), words, "kaggle auth login")
    assert set(kaggle.calls) == {INTROSPECT}


@needs_client
def test_missing_credentials_give_a_hint(folder, kaggle):
    assert_hint(
        submit(folder, "-m", MESSAGE, server=kaggle, credentials={}), "no valid Kaggle credentials", "kaggle auth login"
    )
    assert kaggle.calls == []


@pytest.fixture
def without_client(tmp_path):
    """A folder of modules whose `kaggle` cannot be imported."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "kaggle.py").write_text("raise ModuleNotFoundError(\"No module named 'kaggle'\")\n")
    return modules


def test_a_missing_client_gives_a_hint(folder, without_client):
    assert_hint(submit(folder, "-m", MESSAGE, modules=without_client), "pip install kaggle six")


def test_check_only_needs_neither_client_nor_message(folder, without_client):
    result = submit(folder, "--check-only", modules=without_client)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"entry.csv: 27 rows, 2.00 classes a row, fits {Path('data', 'sample_submission.csv')}\n"


@pytest.mark.parametrize("options", [["-m", MESSAGE], ["--check-only"]])
def test_a_faulty_file_is_refused_before_anything_is_sent(folder, kaggle, options):
    (folder / "other.csv").write_text("Id,Predicted\ncell0,0\n")
    result = submit(folder, *options, "--sample-submission", "other.csv", server=kaggle)
    assert result.returncode == 2
    assert result.stderr.startswith("hpa.submit: entry.csv: 26 faults\n  line 3: id cell1 is not in other.csv")
    assert kaggle.calls == []


def test_an_upload_without_a_message_is_refused(folder):
    result = submit(folder)
    assert (result.returncode, result.stdout) == (2, "")
    assert "-m" in result.stderr


def training_table(folder, *targets):
    rows = "".join(f"row{number},{target}\n" for number, target in enumerate(targets))
    (folder / "data" / "train.csv").write_text(f"Id,Target\n{rows}")


ALL = " ".join(map(str, range(20)))
FAR = {
    "too many classes a row": (ALL, ["0", "1 2"] * 50, "20.00 classes a row, the training set has 1.50; are the thresholds"),
    "too few classes a row": ("0", ["0 1 2 3"] * 99, "1.00 classes a row, the training set has 4.00; are the thresholds"),
    "a rare class in all rows": (
        "27 0",
        ["0 1"] * 99 + ["27 0"],
        "a class: Nuclear membrane 0%, the training set has 99%; Rods & rings 100%, the training set has 1%; are",
    ),
    "the sample itself": ("0", ["0"] * 41 + ["1"] * 59, "Nucleoplasm 100%, the training set has 41%"),
}


@pytest.mark.parametrize(("predicted", "targets", "said"), FAR.values(), ids=FAR)
def test_a_submission_far_from_the_training_shares_is_told(folder, monkeypatch, capsys, predicted, targets, said):
    monkeypatch.chdir(folder)
    training_table(folder, *targets)
    (folder / "entry.csv").write_text("Id,Predicted\n" + "".join(f"cell{row},{predicted}\n" for row in range(27)))
    assert main(["entry.csv", "--check-only"]) == 0
    error = capsys.readouterr().err
    assert all(line.startswith("entry.csv: ") for line in error.splitlines())
    assert said in error


@pytest.mark.parametrize("table", [None, "Id,Target\na,99\n", "nonsense", ["27 0", "1 27", "2 27"] * 20])
def test_shares_that_are_near_or_not_known_are_no_warning(folder, monkeypatch, capsys, table):
    monkeypatch.chdir(folder)
    if isinstance(table, list):
        training_table(folder, *table)
    elif table:
        (folder / "data" / "train.csv").write_text(table)
    assert main(["entry.csv", "--check-only"]) == 0
    assert capsys.readouterr().err == ""


def test_another_competition_has_classes_of_its_own(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    other = ["entry.csv", "--check-only", "--competition", "other"]
    assert main(other) == 2
    assert capsys.readouterr().err == "hpa.submit: --competition other: say with --task which classes it has\n"
    (folder / "many.toml").write_text('classes = ["x", "y", "z"]\nchannels = ["grey"]\nlabels = "many"\n')
    assert main([*other, "--task", "many.toml"]) == 2
    assert "line 2: id cell0: Predicted holds '27'; class numbers are 0 to 2" in capsys.readouterr().err
    (folder / "entry.csv").write_text("Id,Predicted\n" + "".join(f"cell{row},{row % 2} 2\n" for row in range(27)))
    assert main([*other, "--task", "many.toml"]) == 0
    (folder / "one.toml").write_text('classes = ["x", "y", "z"]\nchannels = ["grey"]\nlabels = "one"\n')
    assert main([*other, "--task", "one.toml"]) == 2
    assert "line 2: id cell0: names several classes; this task has one a row" in capsys.readouterr().err


def test_help_loads_nothing_heavy():
    script = "import sys, hpa.submit; hpa.submit.build_parser(); print({'numpy', 'pandas', 'kaggle'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True).stdout == "set()\n"
