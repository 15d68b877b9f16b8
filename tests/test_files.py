import os
import subprocess
import sys
from pathlib import Path

import pytest

from hpa.errors import BadInput, Failure
from hpa.files import locked, read_json, write_json, written_whole

ROOT = Path(__file__).resolve().parents[1]


def test_a_file_appears_when_the_block_has_ended(tmp_path):
    path = tmp_path / "new" / "folder" / "table.csv"
    with written_whole(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent
        assert temporary.suffix == ".csv"
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["table.csv"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError])
def test_what_stood_there_outlives_a_failure(tmp_path, error):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def write_half():
        with written_whole(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        write_half()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_killed_writer_leaves_the_old_file_and_the_next_one_cleans_up(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    code = (
        "import os, sys\nfrom hpa.files import written_whole\n"
        "with written_whole(sys.argv[1]) as temporary:\n    temporary.write_text('half')\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False).returncode == -9
    assert path.read_text() == "old"
    with written_whole(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["table.csv"]


def test_json_comes_back(tmp_path):
    value = {"name": "ä", "numbers": [1, 2.5, None]}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", {"not": {1, 2}})
    assert read_json(tmp_path / "value.json") == value


@pytest.mark.parametrize(("text", "reason"), [("{", "not valid JSON"), ("[]", "found a list"), (None, "No such file")])
def test_what_is_no_json_object_is_refused(tmp_path, text, reason):
    path = tmp_path / "value.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BadInput, match=reason) as caught:
        read_json(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_lock_is_held_by_one_and_let_go(tmp_path):
    path = tmp_path / "folder" / ".lock"
    with (
        locked(path, wait=False),
        pytest.raises(Failure, match="folder: another process is at work"),
        locked(path, wait=False),
    ):
        pass
    with locked(path, wait=False):
        pass


def test_waiting_for_a_lock(tmp_path):
    path, note = tmp_path / ".lock", tmp_path / "note"
    code = (
        "import sys\nfrom hpa.files import locked\nfrom pathlib import Path\n"
        "print('ready', flush=True)\n"
        "with locked(Path(sys.argv[1]), wait=True):\n    print(Path(sys.argv[2]).read_text())\n"
    )
    with locked(path, wait=True):
        command = [sys.executable, "-c", code, str(path), str(note)]
        waiting = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert waiting.stdout.readline() == "ready\n"
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
        note.write_text("written under the lock")
    assert waiting.communicate(timeout=20)[0] == "written under the lock\n"


def test_a_dead_process_holds_no_lock(tmp_path):
    code = (
        "import os, sys\nfrom hpa.files import locked\nfrom pathlib import Path\n"
        "with locked(Path(sys.argv[1]), wait=False):\n    os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path / ".lock")], cwd=ROOT, check=False).returncode == -9
    with locked(tmp_path / ".lock", wait=False):
        pass
