import argparse
import errno
import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from hpa import command, train
from hpa.__main__ import COMMANDS
from hpa.errors import BadInput, Failure
from hpa.tasks import HEP2, HPA

ROOT = Path(__file__).resolve().parents[1]
HEAVY = {"numpy", "pandas", "cv2", "matplotlib", "sklearn", "imgaug", "keras", "tensorflow"}


def run(error=None):
    def work(options):
        if error is not None:
            raise error

    return command.run(command.parser("thing", "Does a thing."), work, [])


def test_done_is_0():
    assert run() == 0


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (BadInput("train.csv: line 2: empty"), 2, "train.csv: line 2: empty"),
        (Failure("the loss is nan"), 1, "the loss is nan"),
        (KeyboardInterrupt(), 1, "interrupted; the same command goes on where it stopped"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "the disk is full (while writing); free some space"),
        (OSError(errno.ENOSPC, "", "store needs 9 GiB"), 1, "the disk is full (store needs 9 GiB); free some space"),
        (OSError(errno.EDQUOT, "Disk quota exceeded", "a.npy"), 1, "the disk is full (a.npy); free some space"),
        (OSError(errno.EFBIG, "File too large"), 1, "the disk is full (while writing); free some space"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 1, "runs: Permission denied"),
        (OSError(errno.EROFS, "Read-only file system", "runs"), 1, "runs: Read-only file system"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "n" * 300), 2, f"{'n' * 300}: the name is too long"),
        (OSError(errno.ELOOP, "Too many levels", "data"), 2, "data: is a link that leads back to itself"),
        (MemoryError(), 1, "the memory is full; choose smaller images or batches"),
        (MemoryError("Unable to allocate 9 GiB"), 1, "the memory is full (Unable to allocate 9 GiB); choose"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(capsys, error, code, text):
    assert run(error) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"hpa.thing: {text}")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("setting", "text"),
    [("batch_size", "--batch-size 0: too few"), ("folds", "batch_size 0: too few"), (None, "batch_size 0: too few")],
)
def test_an_error_names_the_option_that_the_command_has(capsys, setting, text):
    def work(options):
        raise BadInput("batch_size 0: too few", setting=setting)

    parser = command.parser("thing", "Does a thing.")
    parser.add_argument("-b", "--batch-size")
    assert command.run(parser, work, []) == 2
    assert capsys.readouterr().err == f"hpa.thing: {text}\n"


def test_a_defect_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run(ZeroDivisionError())
    with pytest.raises(OSError, match="Input/output"):
        run(OSError(errno.EIO, os.strerror(errno.EIO)))


def test_an_unknown_option_is_2(capsys):
    with pytest.raises(SystemExit) as caught:
        command.run(command.parser("thing", "Does a thing."), lambda options: None, ["--nonsense"])
    assert caught.value.code == 2
    assert "--nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("read", "text", "value"),
    [
        (command.positive_integer, "12", 12),
        (command.whole_number, "0", 0),
        (command.positive_number, "1e-3", 1e-3),
        (command.comma_separated, "0,1, fcn", ["0", "1", "fcn"]),
        (command.shard, "2/8", (2, 8)),
    ],
)
def test_options_are_read(read, text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("read", "texts"),
    [
        (command.positive_integer, ["0", "-1", "1.5", "", "a", "²", "1_0", " 1"]),
        (command.whole_number, ["-1", "1.0", "", "٣"]),
        (command.positive_number, ["0", "-1", "nan", "inf", "", "a"]),
        (command.shard, ["", "1", "0/2", "3/2", "a/b", "1/2/3", "-1/2"]),
        (command.comma_separated, ["", "0,", ",0", "0,,1", "0,0", "0, 0"]),
    ],
)
def test_bad_options_are_refused(read, texts):
    for text in texts:
        with pytest.raises(argparse.ArgumentTypeError, match=re.escape(f"found '{text}'")):
            read(text)


def task_of(*options):
    parser = command.parser("thing", "Does a thing.", "task")
    return parser.parse_args(map(str, options)).task


def test_a_task_is_known_or_a_file(tmp_path):
    assert task_of() is HPA
    assert task_of("--task", "hep2") is HEP2
    path = tmp_path / "yeast.toml"
    path.write_text('classes = ["budding", "shmoo"]\nchannels = ["light", "dark"]\nlabels = "one"\n')
    task = task_of("--task", path)
    assert (task.name, task.classes, task.suffixes, task.labels) == (
        "yeast",
        ("budding", "shmoo"),
        ("_light", "_dark"),
        "one",
    )


def test_every_fault_of_a_task_file_is_told(tmp_path, capsys):
    path = tmp_path / "yeast.toml"
    path.write_text('clases = ["budding", "shmoo"]\nchannels = []\nlabels = 2\n')
    with pytest.raises(SystemExit) as caught:
        task_of("--task", path)
    assert caught.value.code == 2
    assert capsys.readouterr().err.split("error: ")[1].splitlines() == [
        f"argument --task: {path}: 3 faults",
        "  labels must be a text, found 2",
        "  no key classes; add it",
        "  unknown key clases; is classes meant?",
    ]


def test_a_task_that_is_neither_known_nor_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.toml").write_text("<html>404</html>")
    for name, fault in (
        ("hep3", "hep3: cannot be read (No such file or directory); a task is hpa, hep2 or such a file"),
        ("page.toml", "page.toml: not a TOML file (Invalid statement (at line 1, column 1))"),
    ):
        with pytest.raises(SystemExit) as caught:
            task_of("--task", name)
        assert caught.value.code == 2
        assert capsys.readouterr().err.endswith(f"argument --task: {fault}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_there_without_heavy_imports(name):
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['{name}', '--help']\n"
        f"try:\n    runpy.run_module('hpa.{name}', run_name='__main__', alter_sys=True)\n"
        f"finally:\n    print('HEAVY', sorted({HEAVY!r} & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith(f"usage: hpa.{name} ")
    assert done.stdout.endswith("HEAVY []\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_of_a_command_is_2(name):
    command_line = [sys.executable, "-m", f"hpa.{name}", "--no-such-option"]
    done = subprocess.run(command_line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


WORK = r"""
import sys
from hpa import command

def work(options):
    print("class \u00e4\u03bb \udcff")
    print("warning \u00e4\u03bb", file=sys.stderr)
    with open(sys.argv[1], "w") as file:
        file.write("done")

sys.exit(command.run(command.parser("thing", "Does a thing."), work, []))
"""


@pytest.mark.parametrize("encoding", ["ascii:strict", "latin-1:strict", "utf-8:strict"])
def test_letters_that_a_terminal_cannot_show_end_no_run(tmp_path, encoding):
    environment = os.environ | {"PYTHONIOENCODING": encoding}
    arguments = [sys.executable, "-c", WORK, str(tmp_path / "result")]
    done = subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"class" in done.stdout
    assert (tmp_path / "result").read_text() == "done"


@pytest.mark.parametrize("closed", ["2>&-", ">&-", "<&-", "<&- >&- 2>&-"])
def test_with_closed_streams_the_work_is_done_all_the_same(tmp_path, closed):
    script = f'exec "$0" -c "$1" "$2" {closed}'
    arguments = ["bash", "-c", script, sys.executable, WORK, str(tmp_path / "result")]
    assert subprocess.run(arguments, cwd=ROOT, check=False, capture_output=True).returncode == 0
    assert (tmp_path / "result").read_text() == "done"  # and no message in it


IMPORT = """
import sys
from hpa import command

def work(options):
    with command.quiet_import():
        import keras
    print(keras.backend.backend(), keras.config.floatx(), keras.config.image_data_format(), keras.config.max_epochs())

sys.exit(command.run(command.parser("thing", "Does a thing."), work, []))
"""


def imported(tmp_path, **variables):
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    environment |= {"KERAS_HOME": str(tmp_path)} | variables
    arguments = [sys.executable, "-c", IMPORT]
    return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_users_own_keras_settings_change_no_result(tmp_path):
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float16", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first", "max_epochs": 1}'
    )
    done = imported(tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "tensorflow float32 channels_last None\n", "")


@pytest.mark.parametrize("backend", ["jax", "torch", "theano"])
def test_a_backend_that_is_not_there_is_one_line(tmp_path, backend):
    if importlib.util.find_spec(backend):
        pytest.skip(f"{backend} is installed")
    done = imported(tmp_path, KERAS_BACKEND=backend)
    assert done.returncode == 2
    assert done.stderr.startswith(f"hpa.thing: KERAS_BACKEND is {backend}")
    assert len(done.stderr.splitlines()) == 1


def test_a_crash_while_tensorflow_is_loaded_is_told():
    code = (
        "import os, signal\nfrom hpa import command\nwith command.quiet_import():\n    os.kill(os.getpid(), signal.SIGILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGILL
    assert "Fatal Python error: Illegal instruction" in done.stderr


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("--devices=3", r"--devices: 3 asked for, and \w+ finds 1 \(cpu:0\)"),
        ("--tensorboard", r"--tensorboard: needs tensorboard; pip install .*"),
    ],
)
def test_check_only_checks_what_training_checks(drawn_cells, tmp_path, monkeypatch, capsys, option, text):
    from hpa.training import board, distribution

    monkeypatch.setattr(board, "find_spec", lambda name: None if name == "tensorboard" else name)
    monkeypatch.setattr(distribution, "_names", lambda: ["cpu:0"])
    options = ["--task=hep2", f"--data={drawn_cells}", f"--runs={tmp_path}", "--size=16", option]
    for check in (["--check-only"], []):
        assert train.main([*options, *check]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert re.fullmatch(f"hpa.train: {text}\n", captured.err)
    assert list(tmp_path.iterdir()) == []


def test_check_only_of_several_devices_augments_on_the_host_as_training_does(drawn_cells, tmp_path, monkeypatch, capsys):
    from hpa.training import distribution, plan

    monkeypatch.setattr(distribution, "_names", lambda: ["gpu:0", "gpu:1"])
    planned = []
    monkeypatch.setattr(plan, "plan", lambda settings, *rest: planned.append(settings) or SimpleNamespace(folder="cells"))
    options = ["--task=hep2", f"--data={drawn_cells}", f"--runs={tmp_path}", "--size=16", "--check-only"]
    assert train.main([*options, "--devices=2"]) == train.main(options) == 0
    assert [settings.augment_on for settings in planned] == ["host", None]


def test_check_only_loads_no_network_library(drawn_cells, tmp_path):
    options = ["--task=hep2", f"--data={drawn_cells}", f"--runs={tmp_path}", "--size=16", "--check-only"]
    code = f"import sys\nfrom hpa import train\nassert train.main({options}) == 0\nassert 'keras' not in sys.modules"
    no_gpu = os.environ | {"PATH": ""}  # nor nvidia-smi, which lists them
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=no_gpu, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_bad_option_is_one_line(capsys):
    parser = command.parser("thing", "Does a thing.", "task")
    with pytest.raises(SystemExit):
        parser.parse_args(["--task", "hep3"])
    assert len(capsys.readouterr().err.splitlines()) == 1
