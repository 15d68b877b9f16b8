"""External images beside the training set."""

import shutil

import numpy as np
import pytest
from train_settings import train_settings

from hpa import pack
from hpa.data.external import merge, read_external, warn_of_tested
from hpa.data.layout import EXTERNAL, say_once
from hpa.data.partition import make_partition
from hpa.data.tables import SampleTable, read_training_table
from hpa.errors import BadInput
from hpa.tasks import HEP2, HPA


@pytest.fixture
def data(tmp_path):
    """Tables without images: two training rows, two external ones, two test rows."""
    (tmp_path / "external").mkdir()
    (tmp_path / "train.csv").write_text("Id,Target\na,3\nb,7 0\n")
    (tmp_path / "external.csv").write_text("Id,Target\n1_2_A1_1,0\n1_2_A1_2,3 7\n")
    (tmp_path / "sample_submission.csv").write_text("Id,Predicted\nt,0\nu,0\n")
    return tmp_path


def rows(**labels):
    targets = np.zeros((len(labels), 28), np.uint8)
    for row, numbers in zip(targets, labels.values(), strict=True):
        row[list(numbers)] = 1
    return SampleTable(np.array(list(labels)), targets)


def test_the_table_next_to_the_folder(data):
    [samples] = read_external(data, HPA).values()
    assert samples.ids.tolist() == ["1_2_A1_1", "1_2_A1_2"]
    assert [np.flatnonzero(row).tolist() for row in samples.targets] == [[0], [3, 7]]


def test_data_without_a_test_set(data):
    (data / "sample_submission.csv").unlink()
    (data / "train").mkdir()
    assert len(read_external(data, HPA)[EXTERNAL]) == 2


def test_the_real_table_is_read_as_it_is(data, shared_data):
    for name, real in (("external", "HPAv18RBGY_wodpl"), ("sample_submission", "sample_submission")):
        (data / f"{name}.csv").unlink()
        (data / f"{name}.csv").symlink_to(shared_data / f"kaggle_csv/{real}.csv")
    [samples] = read_external(data, HPA).values()
    assert len(samples) == 74_606
    joined = merge({"train": read_training_table(shared_data / "kaggle_csv/train.csv", HPA), "external": samples}, HPA)
    assert len(joined) == 31_072 + 74_606
    assert joined.targets[:31_072, 27].sum() == 11


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("x,0\nt,1\nu,2\n", ["2 faults", "id t is also in the test set", "id u is also in the test set"]),
        ("x,28\ny,a b\n", ["line 2: id x: Target holds '28'; class numbers are 0 to 27", "line 3: id y"]),
        ("x,\n", ["id x: Target is empty"]),
        ("x,0\nx,0\n", ["line 3: id x stands already on line 2"]),
    ],
)
def test_what_must_not_be_learned_from(data, text, named):
    (data / "external.csv").write_text("Id,Target\n" + text)
    with pytest.raises(BadInput) as caught:
        read_external(data, HPA)
    assert "external" in str(caught.value)
    for part in named:
        assert part in str(caught.value)


def test_no_table(data):
    (data / "external.csv").unlink()
    with pytest.raises(BadInput, match=r"external\.csv: no such table"):
        read_external(data, HPA)


def test_sets_follow_one_another():
    joined = merge({"train": rows(a=[3], b=[7, 0]), "external": rows(c=[1])}, HPA)
    assert joined.ids.tolist() == ["a", "b", "c"]
    assert [np.flatnonzero(row).tolist() for row in joined.targets] == [[3], [0, 7], [1]]


def test_ids_in_both_are_refused_with_their_labels_where_these_clash():
    with pytest.raises(BadInput) as caught:
        merge({"train": rows(a=[3], b=[7, 0], c=[1]), "external": rows(b=[0, 7], c=[2, 25], d=[1])}, HPA)
    mend = "but ids are distinct over all sets; rename one, or delete it if it is the same image"
    assert str(caught.value).splitlines() == [
        "train and external: 2 faults",
        f"  id b is in two of them, {mend}",
        f"  id c is in two of them with other labels (Nuclear membrane; Nucleoli + Cytosol), {mend}",
    ]


@pytest.mark.parametrize("both", [["t"], list("tuvwx")])
def test_ids_that_are_in_the_test_set_too_are_told_once(data, capsys, both):
    ids = np.array(["a", *both])
    (data / "sample_submission.csv").write_text("Id,Predicted\n" + "".join(f"{each},0\n" for each in "tuvwx"))
    for _ in range(2):
        warn_of_tested(data, {"train": ids, "validation": np.array(["b"])}, HPA)
    named = "t" if len(both) == 1 else "t, u, v, ..."
    assert capsys.readouterr().err == (
        f"{data / 'train'}: {len(both)} ids are in the test set too ({named}); if they are the same images, take them "
        "out of one: a score on the test set would be too good\n"
    )


@pytest.mark.parametrize("text", ["", "Id,Predicted\nb,0\nb,0\n", None])
def test_a_test_set_that_cannot_be_read_is_passed_over(data, capsys, text):
    if text is None:
        (data / "sample_submission.csv").unlink()
        (data / "train").mkdir()
    else:
        (data / "sample_submission.csv").write_text(text)
    warn_of_tested(data, {"train": np.array(["a", "b"])}, HPA)
    assert capsys.readouterr().err == ""


def test_training_and_packing_tell_it(drawn_cells, tmp_path, capsys):
    data = tmp_path / "cells"
    shutil.copytree(drawn_cells, data)
    taken = sorted((data / "train").rglob("*.png"))[0]
    there = next(file for file in (data / "test").rglob("*.png"))
    shutil.copy(taken, there.with_name(taken.name))
    said = f"{data / 'train'}: 1 ids are in the test set too ({taken.stem}); "
    make_partition(train_settings("--task", "hep2", "--data", data, "--runs", tmp_path), HEP2, data)
    assert said in capsys.readouterr().err
    say_once.cache_clear()
    assert pack.main(["--task", "hep2", "--data", str(data), "--runs", str(tmp_path / "runs"), "--size", "16"]) == 0
    assert said in capsys.readouterr().err
