from dataclasses import asdict, replace

import pytest
from train_settings import train_settings

from hpa import finetune, train
from hpa.errors import BadInput
from hpa.files import write_json
from hpa.options import option
from hpa.settings import NAMES
from hpa.tasks import HEP2
from hpa.training.resolve import resolve, resolve_stage


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class-weights", "square-root"], "a row with several classes has no single weight"),
        (["--loss", "focal+soft-f1", "--positive-weights", "square-root"], "but the loss is focal+soft-f1"),
        (["--schedule", "plateau-score", "--warm-up", "1"], "is for schedule constant or cosine"),
        (["--task", "hep2", "--loss", "focal+soft-f1:0.2"], "loss focal is not for single-label tasks"),
        (["--loss", "categorical-crossentropy"], "is not for multi-label tasks"),
        (["--loss", "soft-f1", "--label-smoothing", "0.1"], "--label-smoothing 0.1: loss soft-f1 has none"),
        (["--weights", "nowhere.npz"], "model gapnet starts from new ones"),
        (["--model", "vgg16", "--activation", "mish"], "model vgg16 has its own"),
        (["--progressive-resizing", "0.5"], "model gapnet is built for one size of image"),
    ],
)
def test_settings_that_do_not_go_together(options, message, tmp_path, capsys):
    assert train.main(["--data", str(tmp_path), "--runs", str(tmp_path / "runs"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_presets_label_smoothing_is_left_out_of_a_loss_that_has_none():
    assert train_settings("--task", "hep2", "--loss", "smooth-l1").label_smoothing == 0
    assert train_settings("--task", "hep2", "--loss", "categorical-crossentropy+soft-f1").label_smoothing == 0.05


def test_a_stage_does_not_begin_anew_with_smaller_images():
    start = train_settings("--task", "hep2", "--progressive-resizing", "0.5")
    assert start.progressive_resizing == 0.5
    assert resolve_stage(start, "cnn", {}, HEP2).progressive_resizing == 0


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--loss", "focal+f1", "expected one of"),
        ("--clip-norm", "-1", "at least 0"),
        ("--clip-norm", "inf", "at least 0"),
        ("--oversampling", "1", "below 1"),
        ("--patience", "-1", "whole number"),
        ("--progressive-resizing", "1", "below 1"),
    ],
)
def test_values_out_of_range(option, value, message, capsys):
    with pytest.raises(SystemExit) as caught:
        train_settings(option, value)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "own", "--model", "alexnet"], "own/base: was made with model cellnet, not alexnet; leave that out"),
        (["--name", "own", "--model", "alexnet", "--variant", "3"], "own/base: 2 faults"),
        (["--name", "own", "--variant", "3"], "own/base: was made with variant None, not 3; leave that out"),
        (["--name", "x-fold3", "--fold", "0"], "x-fold3/base: was made with fold 3, not 0; leave that out"),
        (["--name", "own", "--loss", "binary-crossentropy"], "is not for single-label tasks"),
    ],
)
def test_a_stage_that_contradicts_its_start_is_refused(options, message, tmp_path, capsys):
    own = train_settings("--task", "hep2", "--folds", "5")
    for name, fold in {"own": 0, "x-fold3": 3}.items():
        config = asdict(replace(own, fold=fold)) | {"task": asdict(HEP2)}
        write_json(tmp_path / name / "base" / "config.json", config)
    before = set(tmp_path.rglob("*"))
    assert finetune.main(["--runs", str(tmp_path), "--stage", "cnn", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == (3 if "2 faults" in message else 1)
    assert set(tmp_path.rglob("*")) == before


def test_a_name_of_another_fold_is_refused_for_a_base_model_too(tmp_path, capsys):
    options = ["--data", str(tmp_path), "--runs", str(tmp_path), "--name", "x-fold3", "--fold", "0"]
    assert train.main(options) == 2
    assert "x-fold3: ends in -fold3" in capsys.readouterr().err


def test_what_a_preset_says_of_another_network_is_left_out():
    settings = train_settings("--task", "hep2", "--model", "vgg16", "--schedule", "plateau")
    assert (settings.filters, settings.dropout, settings.warm_up) == (None, None, 0)


def test_an_unknown_setting_is_refused_with_its_neighbour(tmp_path):
    with pytest.raises(BadInput, match="no setting epoch here; is epochs meant"):
        resolve(None, {"epoch": 3}, HEP2, tmp_path, tmp_path)
    with pytest.raises(BadInput, match="epochs is 0; expected a whole number from 1"):
        resolve(None, {"epochs": 0}, HEP2, tmp_path, tmp_path)


def test_help_shows_what_most_people_need_and_help_all_the_rest_with_defaults(capsys):
    texts = []
    for asked in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as caught:
            train.main([asked])
        assert caught.value.code == 0
        texts.append(" ".join(capsys.readouterr().out.split()))
    short, whole = texts
    assert "--help-all" in short
    assert "--oversampling" not in short
    assert "passes over the training rows (default: 40; transfer: 20; winner-512: 25; quick: 10)" in short
    for name in set(NAMES) - {"stage"}:
        assert f" {option(name)} " in whole
