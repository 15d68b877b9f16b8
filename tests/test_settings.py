"""What settings may be, in files as in options."""

import json
from dataclasses import asdict

import pytest
from train_settings import train_settings

from hpa import train
from hpa.runs.folder import read_settings
from hpa.settings import DEFAULTS, NAMES, RENAMED, faults
from hpa.training.presets import PRESETS, preset_settings

# Values at and beyond the bounds, and of other types.
VALUES = (
    -1, 0, 1, 2, 7, 8, 0.5, 0.999, 1.0, 1.5, -0.1, 1e9, float("nan"), float("inf"), 2**32 - 1, 2**32, True, None, "1", "0.5",
    "", "none", "relu", "linear", "gapnet", "adam", "focal", "focal+soft-f1:0.3", "focal+focal", "float32", "all", "report",
    "square-root", "mix-up", "constant", "base", "host", "kept", "both", [], [1], [0], ["1"], [1, 2.5], {}, "\0",
)  # fmt: skip
UNBOUNDED = ("groups", "weights", "stage")  # texts that are looked at where they are used, and what is no option


def holds(name, value):
    return faults({name: value}) == []


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_are_allowed(name):
    assert faults(preset_settings(name)) == []
    assert faults(asdict(train_settings("--preset", "report", "--folds", "5"))) == []


def test_what_is_no_setting_is_passed_over():
    assert faults({"data": -1, "task": None}) == []


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(UNBOUNDED)))
def test_a_value_is_allowed_in_a_file_just_where_it_is_as_an_option(name, capsys):
    """Numbers as such; an option gives what no file need to be told: 1.0 where 1 is meant, and nothing for null."""
    option = f"--{name.replace('_', '-')}"
    parser = train.build_parser()
    for value in VALUES:
        if isinstance(value, list | dict | bool) or value is None:
            continue
        try:
            given = getattr(parser.parse_args([option, str(value)]), name)
        except SystemExit:
            assert not holds(name, value), value
            continue
        given = list(given) if isinstance(given, tuple) else given
        assert holds(name, given), value


@pytest.mark.parametrize("name", NAMES)
def test_values_of_other_types_are_faults(name):
    kept = [value for value in VALUES if holds(name, value)]
    kinds = {type(value) for value in kept} - {type(None)}
    own = {type(value) for value in [preset_settings(preset)[name] for preset in PRESETS]} - {type(None)}
    assert bool not in kinds
    assert dict not in kinds
    if own == {int}:
        assert kinds == {int}
    elif own == {float}:
        assert kinds <= {int, float}
    elif own == {str}:
        assert kinds == {str}


def test_files_of_earlier_versions_are_read_under_the_names_of_today(tmp_path):
    earlier = {name: before for before, name in RENAMED.items()}
    config = {earlier.get(name, name): value for name, value in (DEFAULTS | {"ema_momentum": 0.5}).items()}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert "averaging" in config
    assert read_settings(tmp_path).ema_momentum == 0.5
    (tmp_path / "presets").mkdir()
    (tmp_path / "presets/found.json").write_text('{"preset": "cells", "averaging": 0.25}')
    assert preset_settings("found", tmp_path)["ema_momentum"] == 0.25
