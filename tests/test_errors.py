import pytest

from hpa.errors import BadInput, Failure, refuse


def test_without_faults_nothing_happens():
    refuse("train.csv", [])


def test_one_fault_is_one_line():
    with pytest.raises(BadInput) as caught:
        refuse("train.csv", ["line 2: empty"])
    assert str(caught.value) == "train.csv: line 2: empty"


@pytest.mark.parametrize(
    ("count", "last"), [(2, "  fault 1"), (10, "  fault 9"), (11, "  ... and 1 more"), (500, "  ... and 490 more")]
)
def test_the_first_ten_and_the_count(count, last):
    with pytest.raises(BadInput) as caught:
        refuse("train.csv", [f"fault {number}" for number in range(count)])
    lines = str(caught.value).splitlines()
    assert lines[0] == f"train.csv: {count} faults"
    assert lines[1 : 1 + min(count, 10)] == [f"  fault {number}" for number in range(min(count, 10))]
    assert lines[-1] == last


def test_bad_input_and_failure_can_be_told_apart():
    assert issubclass(BadInput, ValueError)
    assert not issubclass(Failure, BadInput)
    assert not issubclass(BadInput, Failure)


def test_of_a_monstrous_line_both_ends_are_kept():
    with pytest.raises(BadInput) as caught:
        refuse("train.csv", [f"line 2: id {'x' * 10**7} is too long", "line 3: empty"])
    first, second, third = str(caught.value).splitlines()
    assert (first, third) == ("train.csv: 2 faults", "  line 3: empty")
    assert second.startswith("  line 2: id xxx")
    assert second.endswith("xxx is too long")
    assert len(second) < 1100


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("label_smoothing 0.1: the loss has none", "--label-smoothing 0.1: the loss has none"),
        ("label_smoothing: the loss has none", "--label-smoothing: the loss has none"),
        ("the loss has none", "--label-smoothing: the loss has none"),
        ("label_smoothings differ", "--label-smoothing: label_smoothings differ"),
    ],
)
def test_a_command_names_its_option(text, shown):
    error = BadInput(text, setting="label_smoothing")
    assert str(error) == text
    assert error.with_option("--label-smoothing") == shown


def test_faults_of_a_setting_name_it():
    with pytest.raises(BadInput) as caught:
        refuse("groups a.csv", ["id 3 is unknown"], setting="groups")
    assert (str(caught.value), caught.value.setting) == ("groups a.csv: id 3 is unknown", "groups")
