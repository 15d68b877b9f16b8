"""A wheel that is built from the tree works on another machine: installed, in an empty folder, without the tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hpa import __version__

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("hpa", "pyproject.toml", "setup.cfg", "requirements.txt", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the installed wheel. Its dependencies are those of the tests."""
    tree, wheels, target = (tmp_path_factory.mktemp(name) for name in ("tree", "wheels", "installed"))
    for part in PARTS:  # a copy, since a build leaves files in the tree
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, tree)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, tree], check=True)
    [wheel] = wheels.glob("*.whl")
    subprocess.run([*pip, "install", "--no-deps", "--target", target, wheel], check=True)
    return target


@pytest.fixture
def run(installed, tmp_path):
    """A function that runs a program of the installed package in an empty folder."""

    def run(*command_line):
        environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
        return subprocess.run(command_line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)

    return run


def test_the_console_script(installed, run, tmp_path):
    hpa = installed / "bin" / "hpa"
    assert run(hpa, "--version").stdout == f"hpa {__version__}\n"
    run(hpa, "draw", "--out", "data", "--train", "4", "--test", "2", "--size", "32")
    assert (tmp_path / "data" / "train.csv").is_file()


def test_the_wheel_has_types_and_licence(installed):
    assert (installed / "hpa" / "py.typed").is_file()
    [metadata] = installed.glob("hpa-*.dist-info/METADATA")
    assert "License-Expression: Apache-2.0\n" in metadata.read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_ten_lines_of_the_readme(installed, run, tmp_path):
    [lines] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    small = lines.replace("size=128, epochs=10", "size=80, epochs=1, batch_size=8, rows=40")
    small = re.sub(r'finetune\("(\w+)"', r'finetune("\1", epochs=1', small)
    assert small.count("epochs=1") == 4
    run(installed / "bin" / "hpa", "draw", "--out", "data", "--train", "60", "--test", "12", "--size", "80")
    assert "(12, 28)" in run(sys.executable, "-c", small).stdout
    assert len((tmp_path / "submissions" / "entry.csv").read_text().splitlines()) == 13
    assert (tmp_path / "curves.png").is_file()


@pytest.mark.slow
def test_the_demo(installed, run, tmp_path):
    numbers = ("--train", "60", "--test", "20", "--size", "80", "--epochs", "1", "--shift", "0")
    done = run(installed / "bin" / "hpa", "demo", *numbers)
    assert "macro F1 on the drawn test set" in done.stdout
    assert (tmp_path / "submissions" / "drawn.csv").is_file()
