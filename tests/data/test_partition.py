"""What is learned from and what is validated with, where there are external rows."""

import numpy as np
import pandas as pd
import pytest

from hpa.data.images import read_image
from hpa.data.layout import EXTERNAL
from hpa.data.partition import make_partition, write_partition
from hpa.errors import BadInput
from hpa.settings import Settings
from hpa.tasks import HPA
from hpa.train import main


def settings(**changed):
    return Settings(**{"variant": 0, "folds": 4, "external_weight": 0.5} | changed)


@pytest.fixture
def data(tmp_path):
    """Tables without images: 40 training rows, of which those of antibody 3 have external rows too, and a test set."""
    folder = tmp_path / "data"
    (folder / "external").mkdir(parents=True)
    own = [f"{antibody}_1_A1_{field}" for antibody in range(20) for field in (1, 2)]
    other = [f"{antibody}_2_B1_1" for antibody in (3, 50, 51)]
    for name, ids in (("train", own), (EXTERNAL, other)):
        pd.DataFrame({"Id": ids, "Target": [str(row % 5) for row in range(len(ids))]}).to_csv(
            folder / f"{name}.csv", index=False
        )
    (folder / "sample_submission.csv").write_text("Id,Predicted\n3_9_Z1_1,0\n")
    return folder


@pytest.mark.parametrize("fold", range(4))
def test_external_rows_are_learned_from_and_never_validated_with(data, fold):
    partition = make_partition(settings(fold=fold), HPA, data)
    assert partition.set_of_row.tolist() == ["train"] * 40 + ["external"] * 3
    assert (partition.validation < 40).all()
    assert sorted([*partition.training, *partition.validation]) == list(range(43))
    without = make_partition(settings(fold=fold, external_weight=0.0), HPA, data)
    assert without.validation.tolist() == partition.validation.tolist()
    assert without.training.tolist() == [row for row in partition.training if row < 40]


def test_what_shares_an_antibody_with_the_validation_side_is_not_learned_from(data):
    left_out = []
    for fold in range(4):
        partition = make_partition(settings(fold=fold, groups="antibodies"), HPA, data)
        antibodies = np.array([each.split("_")[0] for each in partition.table.ids])
        assert not set(antibodies[partition.training]) & set(antibodies[partition.validation])
        if 40 not in partition.training:
            left_out.append(fold)
        assert {41, 42} <= set(partition.training)
        assert ("3" in antibodies[partition.validation]) == (40 not in partition.training)
    assert len(left_out) == 1


def test_an_external_copy_of_a_test_image_is_not_learned_from(data, tmp_path):
    copies = tmp_path / "copies.csv"
    rows = ["50_2_B1_1,0,external", "3_9_Z1_1,0,test", "51_2_B1_1,1,external", "0_1_A1_1,1,train"]
    copies.write_text("\n".join(["Id,group,set", *rows, "0_1_A1_2,2,train", "t,2,test"]))
    learned = {name for fold in range(4) for name in learned_from(data, fold, str(copies))}
    assert "50_2_B1_1" not in learned
    assert {"3_2_B1_1", "51_2_B1_1", "0_1_A1_1", "0_1_A1_2"} <= learned


def learned_from(data, fold, groups):
    partition = make_partition(settings(fold=fold, groups=groups), HPA, data)
    return partition.table.ids[partition.training].tolist()


def test_several_external_sets(data, tmp_path):
    (data / "external-mine").mkdir()
    (data / "external-mine.csv").write_text("Id,Target\n90_1_A1_1,5\n91_1_A1_1,6 7\n")
    partition = make_partition(settings(), HPA, data)
    assert list(partition.sets) == ["train", "external", "external-mine"]
    assert np.flatnonzero(partition.external).tolist() == [40, 41, 42, 43, 44]
    assert {43, 44} <= set(partition.training)
    (data / "external-mine.csv").write_text("Id,Target\n50_2_B1_1,0\n")
    with pytest.raises(BadInput, match="id 50_2_B1_1 is in two of them with other labels"):
        make_partition(settings(), HPA, data)


def test_later_stages_take_the_sides_that_were_written(data, tmp_path):
    chosen = settings(fold=1, groups="antibodies", rows=20)
    partition = make_partition(chosen, HPA, data)
    write_partition(tmp_path / "split.csv", chosen, partition)
    again = make_partition(settings(fold=1), HPA, data, tmp_path / "split.csv")
    assert again.training.tolist() == partition.training.tolist()
    assert again.validation.tolist() == partition.validation.tolist()
    with pytest.raises(BadInput, match="3_2_B1_1"):
        make_partition(settings(fold=1, external_weight=0.0), HPA, data, tmp_path / "split.csv")


def test_an_id_of_the_training_or_the_test_set_is_refused(data):
    table = data / "external.csv"
    table.write_text("Id,Target\n0_1_A1_1,4\n3_9_Z1_1,0\n")
    with pytest.raises(BadInput, match="id 3_9_Z1_1 is also in the test set"):
        make_partition(settings(), HPA, data)
    table.write_text("Id,Target\n0_1_A1_1,4\n")
    with pytest.raises(BadInput, match="train and external: id 0_1_A1_1 is in two of them with other labels"):
        make_partition(settings(), HPA, data)


def test_a_run_gets_the_images_and_weights_of_both_sets(data, tmp_path, write_samples, monkeypatch):
    tables = {name: pd.read_csv(data / f"{name}.csv") for name in ("train", EXTERNAL)}
    for name, table in tables.items():
        write_samples(data / name, len(table), side=80)
        for number, identifier in enumerate(table["Id"]):
            for colour in HPA.channels:
                (data / name / f"s{number:04d}_{colour}.png").rename(data / name / f"{identifier}_{colour}.png")
    given = {}
    monkeypatch.setattr(
        "hpa.training.train.fit", lambda folder, settings, task, model, *rows, **others: given.update(rows=rows)
    )
    monkeypatch.setattr("hpa.training.train.describe_best", str)
    options = ["--data", str(data), "--runs", str(tmp_path / "runs"), "--folds", "4", "--size", "76"]
    assert main([*options, "--external-weight", "0.25"]) == 0
    training, validation = given["rows"][:2]
    for rows in (training, validation):
        for row in rows.rows:
            folder = data / ("train" if row < 40 else EXTERNAL)
            expected = read_image([folder / f"{rows.table.ids[row]}_{colour}.png" for colour in HPA.channels], HPA, 76)
            np.testing.assert_array_equal(rows.images[np.array([row])][0], expected)
    assert training.weights.tolist() == [1.0] * 40 + [0.25] * 3
    assert set(training.rows) >= {40, 41, 42}
    assert validation.weights is None


@pytest.fixture
def validated(data):
    """The same with a validation set of ten rows, the first of which shares its antibody with two training rows."""
    (data / "validation").mkdir()
    table = pd.DataFrame({"Id": [f"{3 + 57 * bool(row)}_3_C1_{row}" for row in range(10)], "Target": "1 2"})
    table.to_csv(data / "validation.csv", index=False)
    return data


def test_folds_of_both_sets_hold_out_each_row_once(validated):
    validation = []
    for fold in range(4):
        partition = make_partition(settings(fold=fold, folds_of="both"), HPA, validated)
        assert partition.set_of_row.tolist() == ["train"] * 40 + ["validation"] * 10 + ["external"] * 3
        assert sorted([*partition.training, *partition.validation]) == list(range(53))
        validation += partition.validation.tolist()
    assert sorted(validation) == list(range(50))


def test_folds_of_both_sets_keep_groups_together(validated):
    for fold in range(4):
        partition = make_partition(settings(fold=fold, folds_of="both", groups="antibodies"), HPA, validated)
        antibodies = np.array([each.split("_")[0] for each in partition.table.ids])
        assert not set(antibodies[partition.training]) & set(antibodies[partition.validation])


def test_folds_of_the_training_set_leave_the_validation_set_alone(validated):
    partition = make_partition(settings(), HPA, validated)
    assert set(partition.set_of_row) == {"train", "external"}


def test_copies_in_sets_that_are_left_alone_are_no_fault(validated, tmp_path):
    copies = tmp_path / "copies.csv"
    copies.write_text("Id,group,set\n60_3_C1_1,0,validation\n60_3_C1_2,0,validation\n")
    assert len(make_partition(settings(groups=str(copies)), HPA, validated).validation) == 10
    copies.write_text("Id,group,set\nx,0,train\ny,0,train\n")
    with pytest.raises(BadInput, match="names none of the ids"):
        make_partition(settings(groups=str(copies)), HPA, validated)


def test_both_sets_can_only_be_dealt_if_folds_are_asked_for_and_both_are_there(data, tmp_path, capsys):
    options = ["--data", str(data), "--runs", str(tmp_path / "runs"), "--folds-of", "both"]
    assert main([*options, "--folds", "4"]) == 2
    assert f"--folds-of both: {data} has no validation set; leave it out" in capsys.readouterr().err
    (data / "validation").mkdir()
    assert main(options) == 2
    assert "--folds-of both: is for folds; leave it out, or ask for folds" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_without_an_external_set(data, tmp_path, capsys):
    (data / "external.csv").unlink()
    (data / "external").rmdir()
    assert main(["--data", str(data), "--runs", str(tmp_path / "runs"), "--external-weight", "1"]) == 2
    assert "external" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
