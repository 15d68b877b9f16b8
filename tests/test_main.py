import subprocess
import sys
from pathlib import Path

import pytest

from hpa import __version__
from hpa.__main__ import COMMANDS, main

ROOT = Path(__file__).resolve().parents[1]


def hpa(*arguments):
    command_line = [sys.executable, "-m", "hpa", *arguments]
    return subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=False)


def test_every_command_is_listed():
    modules = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "hpa").glob("*.py")}
    runnable = {name for name, text in modules.items() if "\nmain = command.main(__name__, " in text}
    runnable |= {path.parent.name for path in (ROOT / "hpa").glob("*/__main__.py")}
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
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("  ")] == list(COMMANDS)


def test_the_version_is_printed():
    assert hpa("--version").stdout == f"hpa {__version__}\n"


def test_a_command_gets_the_other_arguments(tmp_path):
    done = hpa("draw", "--contact-sheet", str(tmp_path / "classes.png"), "--size", "32")
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "classes.png").is_file()
    done = hpa("draw", "--sizes", "32")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("hpa.draw: error: ")


def test_the_console_script_names_a_command_as_it_was_typed(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/hpa", "draw", "--help"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith("usage: hpa draw ")


@pytest.mark.parametrize("argument", ["nonsense", "--nonsense"])
def test_anything_else_is_2(argument):
    done = hpa(argument)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.endswith(f"hpa: error: unrecognized arguments: {argument}\n")
