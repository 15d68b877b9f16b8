"""The package on systems that lack what Linux has (see `elsewhere`)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpa.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
IMPORT_EVERYTHING = """
import importlib, pkgutil, elsewhere, hpa
for module in pkgutil.walk_packages(hpa.__path__, "hpa."):
    importlib.import_module(module.name)
"""
RUN_IN_TURN = """
import importlib, sys, elsewhere
for name, *options in eval(sys.argv[1]):
    if code := importlib.import_module(f"hpa.{name}").main(options):
        sys.exit(code)
"""
TESTS = ("test_resources.py", "test_split.py", "test_draw.py", "data/test_store.py")


def python(*arguments, folder=ROOT):
    """Run Python with the tests' own modules, outside of the processes that share out the tests."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment | {"PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_every_module_can_be_imported():
    code, _, err = python("-c", IMPORT_EVERYTHING)
    assert code == 0, err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_options(command):
    code, out, err = python("-c", f"import elsewhere; from hpa.{command} import main; main(['--help'])")
    assert (code, err) == (0, "")
    assert out.startswith(f"usage: hpa.{command}")


def test_from_drawing_to_a_trained_network(tmp_path):
    data, runs = "--data=data", "--runs=runs"
    commands = [
        ["draw", "--out=data", "--train=30", "--test=8", "--size=48"],
        ["split", data],
        ["pack", data, runs, "--size=48"],
        ["duplicates", data, "--out=copies.csv"],
        ["train", data, runs, "--variant=2", "--size=48", "--epochs=1", "--batch-size=16"],
        ["predict", data, runs],
    ]
    code, out, err = python("-c", RUN_IN_TURN, repr(commands), folder=tmp_path)
    assert code == 0, err
    assert "runs/2/base/test.npz is written" in out
    assert (tmp_path / "copies.csv").exists()


@pytest.mark.parametrize("file", TESTS)
def test_tests_pass(file):
    code, out, err = python(
        "-m", "pytest", "-q", "-p", "elsewhere", "-p", "no:xdist", "-p", "no:cacheprovider", f"tests/{file}"
    )
    assert code == 0, out + err
