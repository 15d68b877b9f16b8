import subprocess
import sys
from pathlib import Path

import pytest

from hpa.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]


def hpa(*arguments):
    command_line = [sys.executable, "-m", "hpa", *arguments]
    return subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_command_is_listed():
    modules = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "hpa").glob("*.py")}
    runnable = {name for name, text in modules.items() if '\nif __name__ == "__main__":' in text}
    assert set(COMMANDS) == runnable - {"__main__"}


def test_scoring_needs_no_library_of_networks():
    script = (
        "import importlib, pkgutil, sys, hpa.scoring as scoring\n"
        "for module in pkgutil.iter_modules(scoring.__path__): importlib.import_module(f'hpa.scoring.{module.name}')\n"
        "print(*sorted(name for name in sys.modules if name in ('keras', 'tensorflow', 'hpa.scoring.blend')))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "hpa.scoring.blend\n"


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_the_list_is_printed(arguments):
    done = hpa(*arguments)
    assert done.returncode == 0
    assert done.stderr == ""
    assert [line.split()[2] for line in done.stdout.splitlines() if line.startswith("  python")] == [
        f"hpa.{name}" for name in COMMANDS
    ]


@pytest.mark.parametrize("argument", ["nonsense", "train", "--nonsense"])
def test_anything_else_is_2(argument):
    done = hpa(argument)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.endswith(f"hpa: error: unrecognized arguments: {argument}\n")
