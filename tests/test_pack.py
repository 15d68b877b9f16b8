import ctypes
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from hpa import pack, resources
from hpa.data import store
from hpa.data.images import read_image, read_sample, write_image
from hpa.data.layout import find_files
from hpa.data.store import store_folder
from hpa.data.tables import read_sample_submission, read_training_table
from hpa.drawn.fields import write_dataset
from hpa.tasks import HEP2, HPA

ROOT = Path(__file__).resolve().parents[1]


def start(*options):
    command = [sys.executable, "-m", "hpa.pack", *map(str, options)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    out, err = process.communicate(timeout=120)
    assert "Traceback" not in err
    return process.returncode, out, err


def expected(data, name, ids, size):
    return np.stack([read_image(files, HPA, size) for files in find_files(data / name, ids, HPA)])


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """A data set of 500 test fields of 512 pixels, which takes seconds to pack; three are drawn, the others are links."""
    folder = tmp_path_factory.mktemp("large")
    write_dataset(folder / "drawn", train=1, test=3, size=512)
    ids = [f"{number:04d}" for number in range(500)]
    (folder / "data" / "test").mkdir(parents=True)
    drawn_ids = read_sample_submission(folder / "drawn" / "sample_submission.csv").ids
    drawn = find_files(folder / "drawn" / "test", drawn_ids, HPA)
    for number, identifier in enumerate(ids):
        for file, channel in zip(drawn[number % 3], HPA.channels, strict=True):
            (folder / "data" / "test" / f"{identifier}_{channel}.png").symlink_to(file)
    pd.DataFrame({"Id": ids, "Predicted": "0"}).to_csv(folder / "data" / "sample_submission.csv", index=False)
    return folder / "data"


@pytest.fixture(scope="module")
def small(tmp_path_factory, drawn_data):
    """The drawn data set with each of its 20 test fields listed 15 times, links to the same files."""
    folder = tmp_path_factory.mktemp("small")
    drawn = find_files(drawn_data / "test", read_sample_submission(drawn_data / "sample_submission.csv").ids, HPA)
    (folder / "test").mkdir()
    ids = [f"{number:04d}" for number in range(300)]
    for number, identifier in enumerate(ids):
        for file, channel in zip(drawn[number % 20], HPA.channels, strict=True):
            (folder / "test" / f"{identifier}_{channel}.png").symlink_to(file)
    pd.DataFrame({"Id": ids, "Predicted": "0"}).to_csv(folder / "sample_submission.csv", index=False)
    return folder


def packed_rows(partial):
    """Return how many rows are marked as packed."""
    try:
        return int((np.load(partial / "stamps.npy") != 0).sum())
    except (OSError, ValueError, EOFError):
        return 0


def test_both_sets_are_packed_and_a_second_run_does_nothing(tmp_path, drawn_data):
    code, out, err = finish(start("--data", drawn_data, "--runs", tmp_path, "--size", 32))
    assert (code, err) == (0, "")
    stores = {name: store_folder(tmp_path, drawn_data / name, HPA, 32) for name in ("train", "test")}
    assert out == f"{stores['train']}: 60 images of 32x32x4\n{stores['test']}: 20 images of 32x32x4\n"
    ids = {
        "train": read_training_table(drawn_data / "train.csv", HPA).ids,
        "test": read_sample_submission(drawn_data / "sample_submission.csv").ids,
    }
    for name in ("train", "test"):
        images = np.load(stores[name] / "images.npy")
        assert np.array_equal(images, expected(drawn_data, name, ids[name], 32))
    times = [os.stat(folder / "images.npy").st_mtime_ns for folder in stores.values()]
    assert finish(start("--data", drawn_data, "--runs", tmp_path, "--size", 32)) == (0, out, "")
    assert [os.stat(folder / "images.npy").st_mtime_ns for folder in stores.values()] == times


def test_one_set_alone(tmp_path, drawn_data):
    shutil.copy(drawn_data / "sample_submission.csv", tmp_path)
    (tmp_path / "test").symlink_to(drawn_data / "test")
    assert pack.main(["--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--set", "test", "--size", "8"]) == 0
    assert [path.name for path in (tmp_path / "runs" / "stores").glob("[!.]*")] == [
        store_folder(tmp_path / "runs", tmp_path / "test", HPA, 8).name
    ]


@pytest.mark.parametrize("options", [["--size", "0"], ["--size", "x"], ["--set", "validation"]])
def test_bad_options_are_2(options):
    with pytest.raises(SystemExit) as caught:
        pack.main(options)
    assert caught.value.code == 2


def test_a_size_that_nothing_holds_is_refused_at_once(tmp_path, drawn_data, capsys, monkeypatch):
    options = ["--data", str(drawn_data), "--runs", str(tmp_path / "runs"), "--set", "test"]
    assert pack.main([*options, "--size", "100000"]) == 1
    assert f"hpa.pack: {tmp_path / 'runs/stores'} would need 745 GiB of disk, " in capsys.readouterr().err
    monkeypatch.setattr(resources.shutil, "disk_usage", lambda folder: SimpleNamespace(total=10**15, free=10**15))
    assert pack.main([*options, "--size", "1000000"]) == 2
    assert "one image of 1000000 x 1000000 x 4 would need 7,451 GiB of memory" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_file_where_the_second_store_belongs_stops_the_first(tmp_path, drawn_data, capsys):
    place = store_folder(tmp_path, drawn_data / "test", HPA, 8)
    place.parent.mkdir()
    place.touch()
    assert pack.main(["--data", str(drawn_data), "--runs", str(tmp_path), "--size", "8"]) == 2
    assert capsys.readouterr().err == f"hpa.pack: --runs: {place} is a file, but a folder belongs there; delete it\n"
    assert list(place.parent.iterdir()) == [place]


def test_two_data_folders_share_the_runs_and_no_store(tmp_path, drawn_data, monkeypatch):
    folders = [drawn_data, tmp_path / "other"]
    shutil.copytree(drawn_data, folders[1])
    decoded = []
    monkeypatch.setattr(store, "read_sample", lambda files, task: decoded.append(files[0]) or read_sample(files, task))
    for _ in range(2):
        for data in folders:
            options = ["--data", str(data), "--runs", str(tmp_path / "runs"), "--set", "test", "--size", "8"]
            assert pack.main(options) == 0
    assert len(decoded) == 40


def test_a_pipe_among_the_images_ends_in_a_line(tmp_path, drawn_data):
    shutil.copytree(drawn_data / "test", tmp_path / "test")
    shutil.copy(drawn_data / "sample_submission.csv", tmp_path)
    [pipe, *_] = sorted((tmp_path / "test").glob("*_blue.png"))
    pipe.unlink()
    os.mkfifo(pipe)
    code, out, err = finish(start("--data", tmp_path, "--runs", tmp_path / "runs", "--set", "test", "--size", 8))
    assert (code, out) == (2, "")
    assert err.endswith(f"{pipe.name} is a pipe, a socket or a device, not a file; replace it by an image\n")


def test_16_bits_are_measured_over_the_training_set_or_stated(tmp_path, capsys):
    random = np.random.default_rng(0)
    for name, ids in (("train", "abc"), ("test", "de")):
        for identifier in ids:
            write_image(tmp_path / name / f"{identifier}.png", random.integers(0, 4096, (30, 30), np.uint16))
    (tmp_path / "train.csv").write_text("Id,Target\na,Golgi\nb,NuMem\nc,Golgi\n")
    options = ["--task", "hep2", "--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--size", "30"]
    for more, highest in (([], 255), (["--intensity-range", "full"], 16), (["--set", "test"], 255)):
        assert pack.main([*options, *more]) == 0
        out, err = capsys.readouterr()
        folders = [Path(line.split(": ")[0]) for line in out.splitlines()]
        assert max(np.load(folder / "images.npy").max() for folder in folders) == highest
        assert err.count("the images are dark") == (2 if highest == 16 else 0)
    assert len(list((tmp_path / "runs" / "stores").glob("t*"))) == 4
    assert pack.main([*options, "--intensity-range", "8-bit"]) == 2
    assert "id a: a.png has 16 bits, but this channel has 8" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "train")
    assert pack.main([*options, "--set", "test"]) == 2
    assert "intensity range" in capsys.readouterr().err


def test_absent_data_is_one_line(tmp_path):
    code, out, err = finish(start("--data", tmp_path / "nowhere", "--runs", tmp_path / "runs"))
    assert (code, out) == (2, "")
    train = f"{tmp_path}/nowhere/train"
    assert err == f"hpa.pack: {train}.csv: no such table; the labels of the images in {train} belong there\n"
    assert not (tmp_path / "runs").exists()


def test_ids_without_images_are_all_named(tmp_path, drawn_data, capsys):
    ids = [*read_sample_submission(drawn_data / "sample_submission.csv").ids, *(f"gone{number}" for number in range(12))]
    pd.DataFrame({"Id": ids, "Predicted": "0"}).to_csv(tmp_path / "sample_submission.csv", index=False)
    (tmp_path / "test").symlink_to(drawn_data / "test")
    assert pack.main(["--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--set", "test"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"hpa.pack: {tmp_path}/test: 12 faults"
    assert lines[1] == "  id gone0: no gone0_red.png, gone0_green.png, gone0_blue.png, gone0_yellow.png"
    assert lines[-1] == "  ... and 2 more"
    assert not (tmp_path / "runs").exists()


def test_images_without_a_row_are_left_out_and_rows_without_an_image_refused(tmp_path, capsys):
    for number in range(10):
        write_image(tmp_path / "train" / f"{number:05d}.png", np.full((8, 8), number, np.uint8))
    rows = [f"{number},Golgi\n" for number in range(8)]
    (tmp_path / "train.csv").write_text("Image ID,Image class\n" + "".join(rows))
    options = ["--task", "hep2", "--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "--size", "8"]
    assert pack.main(options) == 0
    out, err = capsys.readouterr()
    assert out == f"{store_folder(tmp_path / 'runs', tmp_path / 'train', HEP2, 8)}: 8 images of 8x8x1\n"
    left_out = f"{tmp_path / 'train'}: samples without a row in the table are left out: 2 (00008, 00009)\n"
    assert err.count("left out") == 1
    assert left_out in err
    (tmp_path / "train.csv").write_text("Image ID,Image class\n11,Golgi\n" + "".join(rows) + "00012,NuMem\n")
    assert pack.main(options) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"hpa.pack: {tmp_path / 'train'}: 2 faults", "  id 11: no 11.png", "  id 00012: no 00012.png",
    ]  # fmt: skip


def test_a_killed_packing_goes_on_where_it_stopped(tmp_path, large, monkeypatch):
    options = ["--data", large, "--runs", tmp_path, "--set", "test", "--size", 64]
    folder = store_folder(tmp_path, large / "test", HPA, 64)
    partial = folder.with_name(f"{folder.name}.partial")
    process = start(*options)
    deadline = time.monotonic() + 60
    while not packed_rows(partial) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    assert process.wait() == -9
    process.communicate()
    done = packed_rows(partial)
    assert 0 < done < 500
    assert not folder.exists()

    decoded = []
    monkeypatch.setattr(store, "read_sample", lambda files, task: decoded.append(files[0]) or read_sample(files, task))
    assert pack.main([str(option) for option in options]) == 0
    assert len(decoded) == 500 - done
    ids = read_sample_submission(large / "sample_submission.csv").ids
    three = expected(large, "test", ids[:3], 64)
    assert np.array_equal(np.load(folder / "images.npy"), three[np.arange(500) % 3])


def test_two_at_once_both_succeed(tmp_path, small):
    options = ["--data", small, "--runs", tmp_path, "--set", "test", "--size", 64]
    both = [start(*options), start(*options)]
    folder = store_folder(tmp_path, small / "test", HPA, 64)
    assert [finish(process)[:2] for process in both] == [(0, f"{folder}: 300 images of 64x64x4\n")] * 2
    ids = read_sample_submission(small / "sample_submission.csv").ids
    assert np.array_equal(np.load(folder / "images.npy"), expected(small, "test", ids, 64))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MiB; skips where mounting is not permitted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", 0, b"size=8m"):
        pytest.skip(f"no disk can be mounted here ({os.strerror(ctypes.get_errno())})")
    yield folder
    libc.umount2(os.fsencode(folder), 2)


def test_a_disk_that_fills_up(small_disk, small, monkeypatch):
    # The store takes 4.7 MiB. It is begun with room enough, and then 3 MiB are left.
    options = ["--data", str(small), "--runs", str(small_disk), "--set", "test", "--size", "64"]
    folder = store_folder(small_disk, small / "test", HPA, 64)
    partial = folder.with_name(f"{folder.name}.partial")
    with monkeypatch.context() as patched:
        patched.setattr(store, "_pack_rows", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pack.main(options)
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(free - 3 * 2**20))
    code, out, err = finish(start(*options))
    assert (code, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.startswith(f"hpa.pack: the disk is full ({partial}); free some space")
    done = packed_rows(partial)
    assert 0 < done < 300
    assert not folder.exists()

    (small_disk / "filler").unlink()
    decoded = []
    monkeypatch.setattr(store, "read_sample", lambda files, task: decoded.append(files[0]) or read_sample(files, task))
    assert pack.main(options) == 0
    assert len(decoded) == 300 - done
    ids = read_sample_submission(small / "sample_submission.csv").ids
    assert np.array_equal(np.load(folder / "images.npy"), expected(small, "test", ids, 64))


def test_a_disk_that_is_too_small_from_the_start(small_disk, small, capsys):
    assert pack.main(["--data", str(small), "--runs", str(small_disk), "--set", "test", "--size", "256"]) == 1
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert f"{small_disk / 'stores'} would need 0.07 GiB of disk, 0.01 GiB are free" in err


def limited(limit, options):
    """Run the command in a process of its own whose files cannot grow beyond `limit` bytes."""
    code = (
        "import resource, sys\nfrom hpa.pack import main\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))\n"
        "raise SystemExit(main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", code, *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_limit_on_file_size_is_a_full_disk(tmp_path, small):
    options = ["--data", small, "--runs", tmp_path, "--set", "test", "--size", 64]
    done = limited(2**20, options)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("hpa.pack: the disk is full")
    assert finish(start(*options))[0] == 0


def peak_memory(folder, rows):
    """Pack `rows` rows of 256 KiB in a process of its own; return its peak memory in bytes."""
    code = (
        "import resource, sys, numpy\nfrom pathlib import Path\nfrom hpa.data.store import pack\nfrom hpa.tasks import HPA\n"
        "pack(Path(sys.argv[1]) / 'store', Path(sys.argv[1]), numpy.array(sys.argv[2].split()), HPA, 256)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    folder.mkdir()
    ids = [f"{number:04d}" for number in range(rows)]
    for identifier in ids:
        for channel in HPA.channels:
            (folder / f"{identifier}_{channel}.png").symlink_to(folder.parent / "one.png")
    command = [sys.executable, "-c", code, str(folder), " ".join(ids)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    shutil.rmtree(folder)
    return int(done.stdout) * 1024


def test_memory_does_not_grow_with_the_number_of_images(tmp_path, drawn_data):
    shutil.copy(next((drawn_data / "test").glob("*_green.png")), tmp_path / "one.png")
    few, many = (peak_memory(tmp_path / f"{rows}", rows) for rows in (64, 640))
    assert many - few < 32 * 2**20  # the rows in between are 144 MiB
