"""What settings may be, in files as in options."""

from dataclasses import asdict, fields

import pytest
from train_settings import train_settings

from hpa import train
from hpa.allowed import ALLOWED, value_faults
from hpa.settings import Settings
from hpa.training.presets import PRESETS

# Values at and beyond the bounds, and of other types.
VALUES = (
    -1, 0, 1, 2, 7, 8, 0.5, 0.999, 1.0, 1.5, -0.1, 1e9, float("nan"), float("inf"), 2**32 - 1, 2**32, True, None, "1", "0.5",
    "", "none", "relu", "linear", "gapnet", "adam", "focal", "focal+soft-f1:0.3", "focal+focal", "float32", "all", "report",
    "square-root", "mix-up", "constant", "base", [], [1], [0], ["1"], [1, 2.5], {}, "\0",
)  # fmt: skip
UNBOUNDED = ("groups", "weights", "stage")  # texts that are looked at where they are used, and what is no option


def test_every_setting_is_in_the_table():
    assert set(ALLOWED) == {field.name for field in fields(Settings)}


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_are_allowed(name):
    assert value_faults(PRESETS[name]) == []
    assert value_faults(asdict(train_settings("--preset", "report", "--folds", "5"))) == []


def test_what_is_no_setting_is_passed_over():
    assert value_faults({"data": -1, "task": None}) == []


@pytest.mark.parametrize("name", sorted(ALLOWED.keys() - set(UNBOUNDED)))
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
            assert not ALLOWED[name].holds(value), value
            continue
        given = list(given) if isinstance(given, tuple) else given
        assert ALLOWED[name].holds(given), value


@pytest.mark.parametrize("name", ALLOWED)
def test_values_of_other_types_are_faults(name):
    kept = [value for value in VALUES if ALLOWED[name].holds(value)]
    kinds = {type(value) for value in kept} - {type(None)}
    own = {type(value) for preset in PRESETS.values() for value in [preset[name]]} - {type(None)}
    assert bool not in kinds
    assert dict not in kinds
    if own == {int}:
        assert kinds == {int}
    elif own == {float}:
        assert kinds <= {int, float}
    elif own == {str}:
        assert kinds == {str}
    for value in VALUES:
        assert (value_faults({name: value}) == []) == ALLOWED[name].holds(value)
