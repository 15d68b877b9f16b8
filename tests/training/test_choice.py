import pytest
from train_settings import train_settings

from hpa import train
from hpa.settings import STAGES
from hpa.tasks import HEP2
from hpa.training.choice import stage_settings


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--class-weights", "square-root"], "a row with several has no class of its own"),
        (["--loss", "focal+soft-f1", "--positive-weights", "square-root"], "which --loss focal+soft-f1 is without"),
        (["--schedule", "plateau-score", "--warm-up", "1"], "is for --schedule constant or cosine"),
        (["--task", "hep2", "--loss", "focal+soft-f1:0.2"], "--loss focal is not for tasks with one label a sample"),
        (["--loss", "categorical-crossentropy"], "is not for tasks with many labels a sample"),
        (["--loss", "soft-f1", "--label-smoothing", "0.1"], "--label-smoothing 0.1: --loss soft-f1 has none"),
        (["--weights", "nowhere.npz"], "--model gapnet starts from new ones"),
        (["--model", "vgg16", "--activation", "mish"], "--model vgg16 has its own"),
        (["--progressive-resizing", "0.5"], "--model gapnet is built for one size of image"),
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
    assert stage_settings(start, STAGES["cnn"], {}, HEP2).progressive_resizing == 0


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
