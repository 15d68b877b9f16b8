import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from hpa import files
from hpa.errors import BadInput, Busy, Failure
from hpa.files import cores, locked, read_json, require_output, write_csv, write_json, write_text, written_whole

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


def test_texts_and_tables_have_unix_line_ends(tmp_path):
    write_text(tmp_path / "new" / "text", "ä\nb\n")
    assert (tmp_path / "new" / "text").read_bytes() == "ä\nb\n".encode()
    table = pd.DataFrame({"Id": ["a", "b"], "share": [0.25, 1 / 3]})
    write_csv(tmp_path / "table.csv", table)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv", float_precision="round_trip"), table)
    write_csv(tmp_path / "table.csv", table, index=True, float_format="%.2f")
    assert (tmp_path / "table.csv").read_bytes() == b",Id,share\n0,a,0.25\n1,b,0.33\n"


def test_json_comes_back(tmp_path):
    value = {"name": "ä", "numbers": [1, 2.5, None]}
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    with pytest.raises(TypeError):
        write_json(tmp_path / "value.json", {"not": {1, 2}})
    assert read_json(tmp_path / "value.json") == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [("{", "not valid JSON"), ("[]", "found a list"), ("[" * 10**5, "not valid JSON"), (None, "No such file")],
)
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


OTHER_MACHINE = "filelock/2\npid=1\nhost=node7\nmode=lease\ntoken=ab\nduration={}\nstart=1\n"


def test_a_lock_of_another_machine_holds_while_it_gives_signs_of_life(tmp_path):
    path = tmp_path / ".lock"
    owner = tmp_path / ".lock.owner"
    owner.write_text(OTHER_MACHINE.format(120.0))
    os.utime(owner, (time.time() - 60,) * 2)  # as if a heartbeat had been late
    with pytest.raises(Busy, match=r"another process is at work here \(1 on node7\); wait for it"), locked(path, wait=False):
        pass
    os.utime(owner, (time.time() - 121,) * 2)
    with locked(path, wait=False):
        assert f"pid={os.getpid()}\n" in owner.read_text()
    assert not owner.exists()


def test_a_lock_shows_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "SILENCE", 0.24)
    with locked(tmp_path / ".lock", wait=False):
        before = (tmp_path / ".lock.owner").stat().st_mtime_ns
        time.sleep(0.2)
        assert (tmp_path / ".lock.owner").stat().st_mtime_ns > before


def test_a_process_whose_lock_was_taken_over_is_interrupted(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(files, "SILENCE", 0.24)
    with contextlib.ExitStack() as held:
        held.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.default_int_handler))
        held.enter_context(locked(tmp_path / ".lock", wait=False))
        (tmp_path / ".lock.owner").unlink()
        (tmp_path / ".lock.owner").write_text(OTHER_MACHINE.format(0.24))
        with pytest.raises(KeyboardInterrupt):
            time.sleep(5)
    assert "another process has taken over" in caplog.text
    assert (tmp_path / ".lock.owner").read_text() == OTHER_MACHINE.format(0.24)


def test_one_that_a_script_started_in_the_background_ends_as_well(tmp_path):
    code = (
        "import signal, sys, time\nfrom pathlib import Path\nfrom hpa import files\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\nfiles.SILENCE = 0.24\n"
        "with files.locked(Path(sys.argv[1]), wait=False):\n    print('ready', flush=True)\n    time.sleep(60)\n"
    )
    options = {"cwd": ROOT, "stdout": subprocess.PIPE, "text": True}
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], **options)
    assert other.stdout.readline() == "ready\n"
    (tmp_path / ".lock.owner").unlink()
    (tmp_path / ".lock.owner").write_text(OTHER_MACHINE.format(0.24))
    assert other.wait(timeout=40) == -signal.SIGTERM
    other.stdout.close()


def test_a_process_of_this_machine_that_is_stopped_keeps_its_lock(tmp_path):
    code = (
        "import os, sys\nfrom hpa.files import locked\nfrom pathlib import Path\n"
        "with locked(Path(sys.argv[1]), wait=False):\n    print('ready', flush=True)\n    sys.stdin.readline()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    stopped = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / ".lock")], cwd=ROOT, **pipes)
    assert stopped.stdout.readline() == "ready\n"
    stopped.send_signal(signal.SIGSTOP)
    os.utime(tmp_path / ".lock.owner", (0, 0))
    with pytest.raises(Busy, match="another process is at work here"), locked(tmp_path / ".lock", wait=False):
        pass
    stopped.send_signal(signal.SIGCONT)
    stopped.communicate("go\n", timeout=20)
    assert stopped.returncode == 0


def test_cores_are_as_given(monkeypatch):
    monkeypatch.setenv("HPA_CORES", "3")
    assert cores() == 3
    monkeypatch.setenv("HPA_CORES", "0")
    assert cores() == len(os.sched_getaffinity(0))


def test_several_processes_may_write_one_file(tmp_path):
    path = tmp_path / "table.csv"
    code = (
        "import sys\nfrom pathlib import Path\nfrom hpa.files import written_whole\n"
        "with written_whole(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('whole ' * 1000)\n    print('ready', flush=True)\n    sys.stdin.readline()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, **pipes) for _ in range(6)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=20)
    assert [writer.returncode for writer in writers] == [0] * 6
    assert path.read_text() == "whole " * 1000
    assert os.listdir(tmp_path) == ["table.csv"]


def test_a_link_is_written_through(tmp_path):
    target, link = tmp_path / "elsewhere" / "table.csv", tmp_path / "table.csv"
    link.symlink_to(target)  # which is not there yet
    for text in ("new", "newer"):
        with written_whole(link) as temporary:
            temporary.write_text(text)
        assert link.is_symlink()
        assert target.read_text() == text


def test_a_link_to_itself_is_refused(tmp_path):
    link = tmp_path / "table.csv"
    link.symlink_to(link)
    with pytest.raises(BadInput, match="leads back to itself"), written_whole(link):
        pass
    assert link.is_symlink()


def test_a_device_or_a_pipe_is_written_to_and_not_replaced(tmp_path):
    with written_whole(Path(os.devnull)) as temporary:
        temporary.write_text("lost")
    assert Path(os.devnull).is_char_device()
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", str(pipe)], stdout=subprocess.PIPE, text=True)
    with written_whole(pipe) as temporary:
        temporary.write_text("through")
    assert reader.communicate(timeout=20)[0] == "through"
    assert pipe.is_fifo()


def test_a_name_as_long_as_the_file_system_takes(tmp_path):
    path = tmp_path / f"{'n' * 250}.csv"
    with written_whole(path) as temporary:
        temporary.write_text("whole")
    assert path.read_text() == "whole"


@pytest.mark.parametrize(
    ("out", "fault"),
    [
        ("train.csv", "is train.csv"),
        ("link.csv", "is train.csv"),
        ("hard.csv", "is train.csv"),
        ("train/../train.csv", "is train.csv"),
        ("train/a_red.png", "lies in train"),
        ("train/deeper/new.png", "lies in train"),
        ("other/new.png", "lies in train"),
        ("absent.csv", "is absent.csv"),
    ],
)
def test_no_output_is_an_input(tmp_path, monkeypatch, out, fault):
    monkeypatch.chdir(tmp_path)
    Path("train").mkdir()
    for name in ("train.csv", "train/a_red.png"):
        Path(name).write_text("input")
    Path("link.csv").symlink_to("train.csv")
    Path("other").symlink_to("train")
    os.link("train.csv", "hard.csv")
    inputs = [Path("train.csv"), Path("train"), Path("absent.csv")]
    with pytest.raises(BadInput, match=f"--out {out}: {fault}"):
        require_output(Path(out), inputs)
    for sound in ("train2.csv", "trained/train.csv", "runs/train/new.csv"):
        require_output(Path(sound), inputs)


@pytest.mark.parametrize("name", ["pipe", os.devnull])
def test_what_could_be_read_without_end_is_refused(tmp_path, name):
    path = tmp_path / name
    if name == "pipe":
        os.mkfifo(path)
    with pytest.raises(BadInput, match="is a pipe or a device"):
        read_json(path)


def test_json_with_a_key_twice_is_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"inner": {"size": 1, "size": 2}}')
    with pytest.raises(BadInput, match=r'a\.json: not valid JSON \(key "size" is there twice\)'):
        read_json(tmp_path / "a.json")
