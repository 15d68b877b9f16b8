import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hpa import finetune
from hpa.data.tables import SampleTable
from hpa.errors import BadInput
from hpa.runs.folder import (
    describe_best,
    is_finished,
    open_run,
    read_history,
    read_settings,
    require_same_run,
    run_config,
    run_folders,
    with_its_name,
    write_history,
)
from hpa.settings import Settings
from hpa.stages import STAGES, fold_name, run_name
from hpa.tasks import HPA

SETTINGS = Settings(variant=0, size=128, folds=5, epochs=2, batch_size=16)
TABLE = SampleTable(np.array(["a", "b"]), np.eye(2, 28, dtype=np.uint8))


def make_run(folder, settings=SETTINGS, table=TABLE, start_model=None):
    open_run(folder, run_config(settings, HPA, table, start_model), folder)


@pytest.fixture
def runs(tmp_path):
    for name, stages in {"10": ["base"], "2": ["base", "cnn", "dnn"], "gapnet-fcn-0": ["base", "cnn"]}.items():
        for stage in stages:
            make_run(tmp_path / name / stage)
    (tmp_path / "stores").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("names", "stage", "expected"),
    [
        (None, "last", ["2/dnn", "10/base", "gapnet-fcn-0/cnn"]),
        (None, "base", ["2/base", "10/base", "gapnet-fcn-0/base"]),
        (["10", "2"], "last", ["10/base", "2/dnn"]),
        (["2"], "all", ["2/base", "2/cnn", "2/dnn"]),
        (["2"], "cnn", ["2/cnn"]),
    ],
)
def test_the_folders_that_a_choice_names(runs, names, stage, expected):
    assert [str(folder.relative_to(runs)) for folder in run_folders(runs, names, stage)] == expected


@pytest.mark.parametrize(
    ("names", "stage", "message"),
    [
        (["3"], "last", "no run named 3; present are 2, 10, gapnet-fcn-0"),
        (None, "cnn", "10: no stage cnn; present are base"),
    ],
)
def test_a_choice_of_what_is_not_there(runs, names, stage, message):
    with pytest.raises(BadInput, match=message):
        run_folders(runs, names, stage)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (None, ["2/dnn", "2-fold1/base", "2-fold10/base", "10/base", "gapnet-fcn-0/cnn", "gapnet-fcn-0-fold3/base"]),
        (["10", "2"], ["10/base", "2/dnn", "2-fold1/base", "2-fold10/base"]),
        (["2-fold1", "2"], ["2-fold1/base", "2/dnn", "2-fold10/base"]),
        (["2-fold10"], ["2-fold10/base"]),
    ],
)
def test_a_run_is_named_with_all_its_folds(runs, names, expected):
    for name, fold in {"2-fold10": 10, "2-fold1": 1, "gapnet-fcn-0-fold3": 3}.items():
        make_run(runs / name / "base", replace(SETTINGS, folds=11, fold=fold))
    folders = run_folders(runs, names)
    assert [str(folder.relative_to(runs)) for folder in folders] == expected


def test_what_is_named_as_a_fold_and_is_none_is_a_run_of_its_own(runs):
    """And one of which nothing is asked may be damaged."""
    for name, fold in {"2-fold1": 1, "2-fold3": 0, "2-fold04": 4}.items():
        make_run(runs / name / "base", replace(SETTINGS, folds=11, fold=fold))
    make_run(runs / "2-fold5" / "base", replace(SETTINGS, folds=None))
    (runs / "10" / "base" / "config.json").write_text("null")
    folders = run_folders(runs, ["2"], "base")
    assert [str(folder.relative_to(runs)) for folder in folders] == ["2/base", "2-fold1/base"]
    assert run_folders(runs, ["2-fold3"]) == [runs / "2-fold3" / "base"]


def test_no_runs_at_all(tmp_path):
    with pytest.raises(BadInput, match="train one first"):
        run_folders(tmp_path / "absent")


def test_settings_come_back_from_the_folder(tmp_path):
    make_run(tmp_path / "run")
    assert read_settings(tmp_path / "run") == SETTINGS
    open_run(tmp_path / "run", run_config(SETTINGS, HPA, TABLE, None), tmp_path / "moved")  # the same data elsewhere


@pytest.mark.parametrize(
    ("settings", "table", "difference"),
    [
        (replace(SETTINGS, size=256, fold=1), TABLE, "size 128, now 256; fold 0, now 1"),
        (SETTINGS, SampleTable(TABLE.ids[::-1], TABLE.targets), "table_sha256"),
        (SETTINGS, SampleTable(TABLE.ids, TABLE.targets[::-1]), "table_sha256"),
    ],
)
def test_a_folder_made_with_other_settings_or_data_is_refused(tmp_path, settings, table, difference):
    make_run(tmp_path)
    before = (tmp_path / "config.json").read_text()
    with pytest.raises(BadInput, match=difference):
        make_run(tmp_path, settings, table)
    assert (tmp_path / "config.json").read_text() == before


def test_a_stage_knows_the_model_that_it_started_from(tmp_path):
    start = tmp_path / "model.keras"
    start.write_bytes(b"first")
    make_run(tmp_path / "cnn", start_model=start)
    require_same_run(tmp_path / "cnn", run_config(SETTINGS, HPA, TABLE, start))
    start.write_bytes(b"trained again")
    with pytest.raises(BadInput, match="start_sha256"):
        require_same_run(tmp_path / "cnn", run_config(SETTINGS, HPA, TABLE, start))


def test_a_run_knows_what_is_in_its_groups_and_weights(tmp_path):
    groups, weights = tmp_path / "copies.csv", tmp_path / "alexnet.npz"
    groups.write_text("Id,group\na,0\n")
    weights.write_bytes(b"first")
    settings = replace(SETTINGS, groups=f"neighbours-3, {groups}", weights=str(weights))
    config = run_config(settings, HPA, TABLE, None)
    assert run_config(settings, HPA, TABLE, None) == config
    for file in (groups, weights):
        before = file.read_bytes()
        file.write_bytes(before + b"b")
        assert run_config(settings, HPA, TABLE, None) != config
        file.write_bytes(before)


@pytest.mark.parametrize(
    ("options", "positive_weights", "label_smoothing"),
    [
        ([], "none", 0.0),  # soft-f1
        (["--loss", "asymmetric"], "none", 0.0),
        (["--loss", "focal+soft-f1"], "none", 0.1),
        (["--loss", "soft-f1+binary-crossentropy:0.3"], "square-root", 0.1),
    ],
)
def test_a_stage_is_without_what_its_loss_has_no_use_for(tmp_path, monkeypatch, options, positive_weights, label_smoothing):
    trained = []
    module = SimpleNamespace(train=lambda settings, *_: trained.append(settings))
    monkeypatch.setitem(sys.modules, "hpa.training.train", module)
    make_run(tmp_path / "0/base", replace(SETTINGS, positive_weights="square-root", label_smoothing=0.1))
    assert finetune.main(["--runs", str(tmp_path), "--variant", "0", "--stage", "cnn", *options]) == 0
    [settings] = trained
    assert (settings.positive_weights, settings.label_smoothing) == (positive_weights, label_smoothing)


def test_a_run_that_is_named_without_its_stage(tmp_path):
    for stage in ("cnn", "base"):
        make_run(tmp_path / "0" / stage)
    with pytest.raises(BadInput) as caught:
        read_settings(tmp_path / "0")
    mend = f"name one of them, such as {tmp_path / '0' / 'base'}"
    assert str(caught.value) == f"{tmp_path / '0'}: holds the stages base, cnn; {mend}"
    with pytest.raises(BadInput, match=r"1: no such run; train it first"):
        read_settings(tmp_path / "1")


@pytest.mark.parametrize(
    "content", ["", "epoch,loss\n1,0.5\n", "epoch,validation_f1_best\n1,0.5\n2,\n", 'epoch\n"1', "a,b\n1,2,3\n4"]
)
def test_a_damaged_history(tmp_path, content):
    (tmp_path / "history.csv").write_text(content)
    with pytest.raises(BadInput, match="damaged"):
        read_history(tmp_path)


def test_the_history_is_read_back_exactly(tmp_path):
    assert len(read_history(tmp_path)) == 0
    make_run(tmp_path)
    history = pd.DataFrame({"epoch": [1, 2], "loss": [1 / 3, 0.1 + 0.2], "validation_f1_best": [0.25, 1 / 7]})
    write_history(tmp_path, history[:1])
    assert not is_finished(tmp_path)
    write_history(tmp_path, history)
    assert is_finished(tmp_path)
    pd.testing.assert_frame_equal(read_history(tmp_path), history, check_exact=True)
    assert describe_best(tmp_path) == "best epoch 1 of 2, validation macro F1 0.2500"


def test_names_of_runs():
    assert run_name(None, "gapnet", 3, 0) == "3"
    assert run_name(None, "gapnet", 3, 2) == "3-fold2"
    assert run_name(None, "parallel-kernels", None, 0) == "parallel-kernels"
    assert run_name(None, "gapnet-fcn", 0, 1) == "gapnet-fcn-0-fold1"
    assert run_name("cells", "gapnet", 3, 0) == "cells"
    assert run_name("cells", "gapnet", 3, 2) == run_name("cells-fold2", "gapnet", 3, 2) == "cells-fold2"
    for model, variant in (("gapnet", 3), ("parallel-kernels", None)):
        assert fold_name(run_name(None, model, variant, 0), 2) == run_name(None, model, variant, 2)


def test_the_reports_schedule():
    rows = [(stage.name, stage.start, stage.part, stage.epochs, stage.learning_rate) for stage in STAGES.values()]
    assert rows == [
        ("base", None, "all", 40, 1e-3),
        ("cnn", "base", "convolutional", 10, 1e-4),
        ("dnn", "cnn", "dense", 4, 1e-4),
        ("dnn2", "dnn", "dense", 2, 1e-4),
    ]


def test_a_run_folder_has_its_name_also_from_inside(tmp_path, monkeypatch):
    inside = tmp_path / "runs" / "cells" / "base"
    inside.mkdir(parents=True)
    (inside / "config.json").touch()
    for place, path in ((inside, "."), (inside.parent, "base"), (inside.parent / "cnn", "../base")):
        place.mkdir(exist_ok=True)
        monkeypatch.chdir(place)
        assert with_its_name(Path(path)) == inside
    for path in ("member", "cells/base", "runs/cells/base", "../runs/cells/base", "/runs/cells/base"):
        assert with_its_name(Path(path)) == Path(path)
