"""`python -m hpa.download`."""

import subprocess
import sys

import pytest

from hpa.data.external import read_external
from hpa.download import main
from hpa.tasks import HPA


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "wodpl.csv"
    path.write_text("Id,Target\n10580_1610_C1_1,13 25 0\n10580_1610_C1_2,13\n")
    return path


def test_fetches_and_says_so(atlas, table, tmp_path):
    (tmp_path / "data/train").mkdir(parents=True)
    command = [sys.executable, "-m", "hpa.download", "--table", table, "--data", tmp_path / "data"]
    done = subprocess.run([*command, "--base-url", atlas.url, "--rate", "1000"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'data/external'}: 2 of 2 samples are there\n"
    [samples] = read_external(tmp_path / "data", HPA).values()
    assert samples.ids.tolist() == ["10580_1610_C1_1", "10580_1610_C1_2"]


def test_failed_ids_end_with_1_and_a_second_try_mends_it(atlas, table, tmp_path, capsys):
    atlas.faults["/images/10580/1610_C1_2_blue.jpg"] = [404]
    options = ["--table", str(table), "--data", str(tmp_path), "--base-url", atlas.url, "--rate", "1000", "--size", "32"]
    assert main(options) == 1
    out, error = capsys.readouterr()
    assert "1 of 2 samples are there" in out
    assert f"1 samples failed; {tmp_path / 'external-failed.csv'} has the reasons" in error
    assert main(options) == 0


@pytest.mark.parametrize(
    ("text", "options", "named"),
    [
        ("Id,Target\n10580_1610_C1_1,28\n", [], "class numbers are 0 to 27"),
        ("Id,Target\nunknown,3\n", [], "id unknown is not of the form"),
        ("Id,Label\nunknown,3\n", [], "no column Target"),
        ("Id,Target\n10580_1610_C1_1,3\n", ["--base-url", "proteinatlas"], "expected an address"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, capsys, text, options, named):
    table = tmp_path / "table.csv"
    table.write_text(text)
    assert main(["--table", str(table), "--data", str(tmp_path / "data"), *options]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("rate", ["0", "-1", "x", "inf"])
def test_a_rate_is_above_0(table, rate):
    with pytest.raises(SystemExit) as caught:
        main(["--table", str(table), "--rate", rate])
    assert caught.value.code == 2


@pytest.mark.parametrize("name", ["external.csv", "external-failed.csv"])
def test_a_table_that_would_be_written_over_is_refused(atlas, table, tmp_path, capsys, name):
    path = table.rename(tmp_path / name)
    before = path.read_text()
    assert main(["--table", str(path), "--data", str(tmp_path), "--base-url", atlas.url]) == 2
    assert "which this command reads" in capsys.readouterr().err
    assert path.read_text() == before
    assert atlas.requests == []
