from dataclasses import asdict, replace

import keras
import pytest
from train_settings import train_settings

from hpa.training import presets
from hpa.training.fit import computing_in


def test_layers_made_in_a_precision_keep_their_weights_in_float32():
    with computing_in("mixed_bfloat16"):
        layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert (layer.compute_dtype, layer.kernel.dtype) == ("bfloat16", "float32")
    assert keras.layers.Dense(2).compute_dtype == "float32"
    with pytest.raises(ZeroDivisionError), computing_in("mixed_bfloat16"):
        raise ZeroDivisionError
    assert keras.config.dtype_policy().name == "float32"


def test_the_report_is_what_the_report_did():
    report = train_settings("--preset", "report", "--folds", "5")
    assert (report.model, report.variant, report.size, report.augmentation) == ("gapnet", 0, 256, "report")
    assert (report.epochs, report.batch_size, report.optimizer, report.learning_rate) == (40, 128, "adam", 1e-3)
    assert (report.loss, report.schedule) == ("binary-crossentropy", "constant")
    later = ("warm_up", "patience", "weight_decay", "clip_norm", "ema_momentum", "label_smoothing", "oversampling")
    assert not any(getattr(report, name) for name in later)
    assert {getattr(report, name) for name in ("positive_weights", "class_weights", "mixing")} == {"none"}


@pytest.mark.parametrize(
    "name", [name for name in presets.PRESETS if "categorical" not in presets.preset_settings(name)["loss"]]
)
def test_every_preset_is_a_setting_and_options_override_it(name):
    assert asdict(train_settings("--preset", name, "--folds", "5")) == {
        **presets.preset_settings(name),
        "folds": 5,
        "variant": 0 if presets.preset_settings(name)["model"] == "gapnet" else None,
    }
    assert train_settings("--preset", name, "--folds", "5", "--epochs", "77").epochs == 77


@pytest.mark.parametrize("name", ["winner", "quick"])
def test_what_a_preset_adds_to_the_report_can_be_asked_for_alone_and_be_taken_away(name):
    report, preset = train_settings("--preset", "report"), train_settings("--preset", name)
    differences = {key: value for key, value in asdict(preset).items() if value != getattr(report, key)}
    for key, value in differences.items():
        option = f"--{key.replace('_', '-')}"
        if key != "rows":
            assert train_settings("--preset", name, option, getattr(report, key)) == replace(
                preset, **{key: getattr(report, key)}
            )
        assert train_settings("--preset", "report", option, value) == replace(report, **{key: value})
