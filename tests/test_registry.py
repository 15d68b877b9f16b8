import doctest
import subprocess
import sys

import pytest

from hpa import registry
from hpa.errors import BadInput
from hpa.registry import NETWORKS, Registry

HEAVY = ("keras", "tensorflow", "imgaug", "cv2", "sklearn", "pandas")
TABLES = {name: table for name, table in vars(registry).items() if isinstance(table, Registry)}


def test_the_example_in_the_docstring():
    assert doctest.testmod(registry).attempted == 4
    assert doctest.testmod(registry).failed == 0


def test_records_are_loaded_when_they_are_asked_for():
    numbers = Registry("number", {"pi": "math:pi", "absent": "math:absent"})
    assert "absent" in numbers
    assert len(numbers) == 2
    assert numbers.find("pi") == 3.141592653589793
    with pytest.raises(AttributeError):
        numbers["absent"]


def test_an_unknown_name_is_told_with_those_that_there_are():
    with pytest.raises(BadInput, match="no network resnet; expected one of gapnet, gapnet-fcn, "):
        NETWORKS.find("resnet")


def test_a_name_is_given_once():
    numbers = Registry("number", {"one": 1})
    numbers.register("two", 2)
    assert dict(numbers) == {"one": 1, "two": 2}
    with pytest.raises(ValueError, match="Expected a new number"):
        numbers.register("one", 1)


def test_all_records_are_there_and_known_without_a_heavy_import():
    code = (
        "import sys; from hpa import registry\n"
        f"records = [record for table in {sorted(TABLES)} for record in getattr(registry, table).values()]\n"
        f"print(len(records), sorted(set({HEAVY}) & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1) == [str(sum(map(len, TABLES.values()))), "[]\n"]


def test_options_name_what_only_some_networks_take():
    takes = {name: NETWORKS[name].options for name in NETWORKS}
    assert [name for name in takes if "variant" in takes[name]] == ["gapnet", "gapnet-fcn"]
    assert [name for name in takes if "progressive_resizing" in takes[name]] == ["cellnet"]
    assert [name for name in takes if "activation" not in takes[name]] == list(NETWORKS)[6:]
    assert [name for name in takes if "weights" in takes[name]] == list(NETWORKS)[4:]
