import atexit
import errno
import functools
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hpa import resources
from hpa.data import store
from hpa.data.images import FULL, read_image, read_sample
from hpa.data.layout import find_files
from hpa.data.parallel import rows_of
from hpa.data.store import ConcatenatedImages, pack, pack_part, require_room, store_folder
from hpa.errors import BadInput, Failure
from hpa.tasks import HPA

ROOT = Path(__file__).resolve().parents[2]
SIZE = 8


@pytest.fixture
def decoded(monkeypatch):
    """The ids of the samples that are decoded, as they come."""
    seen = []

    def counting(files, task):
        seen.append(files[0].name.removesuffix("_red.png"))
        return read_sample(files, task)

    monkeypatch.setattr(store, "read_sample", counting)
    return seen


@pytest.fixture
def source(tmp_path, write_samples, monkeypatch):
    """A folder of 40 samples, two and a half chunks."""
    monkeypatch.setattr(store, "CHUNK", 16)
    monkeypatch.setattr("hpa.data.parallel.AHEAD", 4)
    write_samples(tmp_path / "source", 40, side=12)
    return tmp_path / "source"


IDS = np.array([f"s{number:04d}" for number in range(40)])


def expected(source, ids=IDS, size=SIZE):
    return np.stack([read_image(files, HPA, size) for files in find_files(source, ids, HPA)])


def test_the_rows_are_what_read_image_returns(tmp_path, source):
    ids = IDS[::-1]
    packed = pack(tmp_path / "store", source, ids, HPA, SIZE)
    assert packed.folder == tmp_path / "store"
    assert np.array_equal(packed.ids, ids)
    assert packed.images.dtype == np.uint8
    assert np.array_equal(packed.images, expected(source, ids))
    assert np.array_equal(np.load(tmp_path / "store" / "images.npy"), packed.images)


def test_images_are_mapped_and_cannot_be_written_to(tmp_path, source):
    images = pack(tmp_path / "store", source, IDS[:3], HPA, SIZE).images
    assert isinstance(images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_nothing_else_is_left_behind(tmp_path, source):
    pack(tmp_path / "stores" / "store", source, IDS[:3], HPA, SIZE)
    assert set(os.listdir(tmp_path / "stores")) - {".store.lock"} == {"store"}  # some systems delete a lock
    assert sorted(os.listdir(tmp_path / "stores" / "store")) == ["facts.npy", "images.npy", "stamps.npy", "store.json"]


def test_a_second_time_does_nothing(tmp_path, source, decoded):
    pack(tmp_path / "store", source, IDS, HPA, SIZE)
    made = os.stat(tmp_path / "store" / "images.npy")
    decoded.clear()
    again = pack(tmp_path / "store", source, IDS, HPA, SIZE)
    now = os.stat(tmp_path / "store" / "images.npy")
    assert decoded == []
    assert (now.st_mtime_ns, now.st_ino) == (made.st_mtime_ns, made.st_ino)
    assert np.array_equal(again.images, expected(source))


def test_another_folder_with_files_of_the_same_names_sizes_and_times_is_another_source(tmp_path, source, decoded):
    pack(tmp_path / "store", source, IDS[:3], HPA, SIZE)
    (tmp_path / "link").symlink_to(source)
    decoded.clear()
    pack(tmp_path / "store", tmp_path / "link", IDS[:3], HPA, SIZE)
    assert decoded == []
    shutil.copytree(source, tmp_path / "elsewhere")  # keeps the times
    pack(tmp_path / "store", tmp_path / "elsewhere", IDS[:3], HPA, SIZE)
    assert sorted(decoded) == list(IDS[:3])


def change_file(source):
    file = source / "s0001_green.png"
    Image.fromarray(255 - np.array(Image.open(file))).save(file, compress_level=1)
    return IDS[:4], SIZE


@pytest.mark.parametrize(
    "change",
    [
        change_file,
        lambda source: (IDS[:5], SIZE),
        lambda source: (IDS[:3], SIZE),
        lambda source: (IDS[3::-1], SIZE),
        lambda source: (IDS[:4], SIZE + 1),
    ],
    ids=["file", "more ids", "fewer ids", "order of ids", "size"],
)
def test_a_change_is_noticed(tmp_path, source, change):
    before = np.array(pack(tmp_path / "store", source, IDS[:4], HPA, SIZE).images)
    ids, size = change(source)
    packed = pack(tmp_path / "store", source, ids, HPA, size)
    assert not np.array_equal(packed.images, before)
    assert np.array_equal(packed.images, expected(source, ids, size))
    assert np.array_equal(packed.ids, ids)


@pytest.mark.parametrize("name", ["images.npy", "stamps.npy", "facts.npy", "store.json"])
@pytest.mark.parametrize("kept", [0, 200])
def test_a_store_that_was_cut_short_is_packed_anew(tmp_path, source, name, kept):
    pack(tmp_path / "store", source, IDS, HPA, SIZE)
    os.truncate(tmp_path / "store" / name, kept)
    assert np.array_equal(pack(tmp_path / "store", source, IDS, HPA, SIZE).images, expected(source))


@pytest.mark.parametrize("name", ["images.npy", "stamps.npy", "facts.npy"])
@pytest.mark.parametrize("change", [lambda array: array[:-1], lambda array: array.astype(np.float32)], ids=["shape", "type"])
@pytest.mark.parametrize("place", ["store", "store.partial"])
def test_a_store_of_another_shape_or_type_than_it_says_is_packed_anew(tmp_path, source, name, change, place):
    pack(tmp_path / "store", source, IDS, HPA, SIZE)
    (tmp_path / "store").rename(tmp_path / place)
    np.save(tmp_path / place / name, change(np.load(tmp_path / place / name)))
    packed = pack(tmp_path / "store", source, IDS, HPA, SIZE)
    assert packed.images.dtype == np.uint8
    assert np.array_equal(packed.images, expected(source))


def test_what_has_images_of_its_own_has_a_store_of_its_own(tmp_path):
    tasks = (HPA, replace(HPA, name="own"), replace(HPA, suffixes=("_r", "_g", "_b", "_y")))
    sources = (tmp_path / "train", tmp_path / "other" / "train", tmp_path / "test")
    ranges = (None, (FULL,) * 4, ((0, 4095),) * 4)
    names = [store_folder(tmp_path, *each) for each in itertools.product(sources, tasks, (8, 9), ranges)]
    assert len(set(names)) == len(names) == 54
    assert all(re.fullmatch(r"(train|test)-[89]-[0-9a-f]{8}", folder.name) for folder in names)
    (tmp_path / "link").symlink_to(tmp_path)
    assert store_folder(tmp_path, tmp_path / "link" / "train", HPA, 8) == store_folder(tmp_path, sources[0], HPA, 8)


@pytest.mark.parametrize("name", ["store", "store.partial"])
def test_a_file_where_the_store_belongs_is_told_before_anything_is_packed(tmp_path, source, decoded, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(BadInput, match=rf"{name} is a file, but a folder belongs there; delete it"):
        pack(tmp_path / "store", source, IDS, HPA, SIZE)
    with pytest.raises(BadInput, match=rf"{name} is a file"):
        require_room({tmp_path / "other": 3, tmp_path / "store": 40}, SIZE, 4)
    assert decoded == []
    assert (tmp_path / name).read_text() == "mine"


def test_one_image_that_does_not_fit_into_the_memory_is_refused_before_it_starts(tmp_path, source, decoded, monkeypatch):
    monkeypatch.setattr(resources, "free_memory", lambda: 500)
    with pytest.raises(BadInput, match=r"one image of 8 x 8 x 4 would need 0.00 GiB of memory, 0.00 GiB are free"):
        pack(tmp_path / "store", source, IDS, HPA, SIZE)
    assert decoded == []
    monkeypatch.setattr(resources, "free_memory", lambda: None)  # the system does not say
    assert len(pack(tmp_path / "store", source, IDS, HPA, SIZE).ids) == 40


def test_several_stores_that_do_not_fit_together_are_refused(tmp_path):
    rows = shutil.disk_usage(tmp_path).free // (1000 * 1000 * 4) // 2
    require_room({tmp_path / "new" / "a": rows}, 1000, 4)
    with pytest.raises(Failure, match="GiB are free"):
        require_room({tmp_path / "new" / name: rows + 1000 for name in "ab"}, 1000, 4)


def test_it_needs_no_function_that_linux_alone_has(tmp_path, source):
    code = (
        "import os, sys, numpy\nfrom pathlib import Path\n"
        "del os.pwrite, os.fdatasync, os.sched_getaffinity\n"
        "from hpa.data.store import pack\nfrom hpa.tasks import HPA\n"
        f"pack(Path(sys.argv[1]), Path(sys.argv[2]), numpy.array({IDS[:5].tolist()}), HPA, {SIZE})\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "store"), str(source)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=60)
    assert np.array_equal(np.load(tmp_path / "store" / "images.npy"), expected(source, IDS[:5]))


def test_who_reads_an_outdated_store_is_not_disturbed(tmp_path, source):
    old = pack(tmp_path / "store", source, IDS[:4], HPA, SIZE).images
    before = np.array(old)
    change_file(source)
    pack(tmp_path / "store", source, IDS[:4], HPA, SIZE)
    assert np.array_equal(old, before)


def test_missing_files_stop_the_work_before_it_starts(tmp_path, source):
    (source / "s0001_red.png").unlink()
    with pytest.raises(BadInput, match=r"id s0001: no s0001_red.png"):
        pack(tmp_path / "store", source, IDS, HPA, SIZE)
    assert os.listdir(tmp_path) == ["source"]


def test_one_bad_image_costs_nothing_but_itself(tmp_path, source, decoded):
    file = source / "s0020_blue.png"
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    for _ in range(2):
        with pytest.raises(BadInput) as caught:
            pack(tmp_path / "store", source, IDS, HPA, SIZE)
        assert str(caught.value).startswith(f"{source}: id s0020: s0020_blue.png is truncated")
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "store").exists()
    assert sorted(decoded) == sorted([*IDS, "s0020"])
    decoded.clear()
    file.write_bytes(whole)
    packed = pack(tmp_path / "store", source, IDS, HPA, SIZE)
    assert decoded == ["s0020"]
    assert np.array_equal(packed.images, expected(source))


def test_all_bad_images_are_reported_at_once(tmp_path, source):
    for identifier in IDS[5:17]:
        (source / f"{identifier}_red.png").write_bytes(b"no image")
    (source / "s0030_yellow.png").unlink()
    (source / "s0030_yellow.png").symlink_to("nowhere")
    Image.fromarray(np.zeros((12, 13), np.uint8)).save(source / "s0000_blue.png")
    with pytest.raises(BadInput) as caught:
        pack(tmp_path / "store", source, IDS, HPA, SIZE)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{source}: 14 faults"
    assert "id s0000: the channels differ in size" in lines[1]
    assert [line.split(":")[0] for line in lines[2:11]] == [f"  id {identifier}" for identifier in IDS[5:14]]
    assert lines[11:] == ["  ... and 4 more"]


def test_an_id_may_hold_underscores(tmp_path, write_samples):
    write_samples(tmp_path / "source", 1)
    for channel in HPA.channels:
        (tmp_path / "source" / f"s0000_{channel}.png").rename(tmp_path / "source" / f"1_A_2_{channel}.png")
    (tmp_path / "source" / "1_A_2_red.png").write_bytes(b"")
    with pytest.raises(BadInput, match=r"id 1_A_2: 1_A_2_red.png"):
        pack(tmp_path / "store", tmp_path / "source", np.array(["1_A_2"]), HPA, SIZE)


def test_an_interrupted_packing_goes_on_where_it_stopped(tmp_path, source, decoded, monkeypatch):
    def interrupted(files, task):
        if len(decoded) >= 24:
            raise KeyboardInterrupt
        return counting(files, task)

    counting = store.read_sample
    monkeypatch.setattr(store, "read_sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack(tmp_path / "store", source, IDS, HPA, SIZE)
    assert not (tmp_path / "store").exists()
    decoded.clear()
    monkeypatch.setattr(store, "read_sample", counting)
    packed = pack(tmp_path / "store", source, IDS, HPA, SIZE)
    assert sorted(decoded) == list(IDS[store.CHUNK :])
    assert np.array_equal(packed.images, expected(source))


def test_what_changed_during_an_interruption_is_packed_anew(tmp_path, source, decoded):
    bad = source / "s0039_blue.png"
    whole = bad.read_bytes()
    bad.write_bytes(b"")
    with pytest.raises(BadInput):
        pack(tmp_path / "store", source, IDS, HPA, SIZE)
    bad.write_bytes(whole)
    change_file(source)
    decoded.clear()
    packed = pack(tmp_path / "store", source, IDS, HPA, SIZE)
    assert sorted(decoded) == ["s0001", "s0039"]
    assert np.array_equal(packed.images, expected(source))


@pytest.mark.parametrize("damage", ["other size", "images.npy", "stamps.npy", "facts.npy", "store.json"])
def test_rests_that_do_not_fit_are_thrown_away(tmp_path, source, damage):
    partial = tmp_path / "store.partial"
    pack(partial, source, IDS, HPA, SIZE + 1 if damage == "other size" else SIZE)
    if damage != "other size":
        os.truncate(partial / damage, 100)
    assert np.array_equal(pack(tmp_path / "store", source, IDS, HPA, SIZE).images, expected(source))
    assert not partial.exists()


def test_a_death_between_the_two_last_steps(tmp_path, source, decoded):
    pack(tmp_path / "store", source, IDS, HPA, SIZE)
    (tmp_path / "store").rename(tmp_path / "store.partial")
    decoded.clear()
    assert np.array_equal(pack(tmp_path / "store", source, IDS, HPA, SIZE).images, expected(source))
    assert decoded == []


def test_writes_that_the_system_cuts_short_are_completed(tmp_path, source, monkeypatch):
    class Short(io.FileIO):
        def write(self, data):
            return super().write(data[:100])

    monkeypatch.setattr(store, "open", lambda path, mode, buffering: Short(path, mode), raising=False)
    assert np.array_equal(pack(tmp_path / "store", source, IDS[:9], HPA, SIZE).images, expected(source, IDS[:9]))


def test_a_disk_that_fills_up_keeps_what_was_packed(tmp_path, source, decoded, monkeypatch):
    written = []

    class Filling(io.FileIO):
        def write(self, data):
            written.append(len(data))
            if len(written) > 24:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    monkeypatch.setattr(store, "open", lambda path, mode, buffering: Filling(path, mode), raising=False)
    with pytest.raises(OSError, match="No space left") as caught:
        pack(tmp_path / "store", source, IDS, HPA, SIZE)
    assert caught.value.errno == errno.ENOSPC
    assert not (tmp_path / "store").exists()
    monkeypatch.delattr(store, "open")
    decoded.clear()
    packed = pack(tmp_path / "store", source, IDS, HPA, SIZE)
    assert sorted(decoded) == list(IDS[store.CHUNK :])
    assert np.array_equal(packed.images, expected(source))


@pytest.mark.parametrize("size", [10**6, 10**12])
def test_a_store_that_cannot_fit_is_refused_before_it_starts(tmp_path, source, size, decoded):
    with pytest.raises(Failure, match="GiB are free"):
        pack(tmp_path / "store", source, IDS, HPA, size)
    assert decoded == []


def test_real_cells(tmp_path, shared_data):
    source = shared_data / "hpa_real" / "train"
    ids = np.array(sorted({file.name.rpartition("_")[0] for file in source.glob("*.png")}))
    packed = pack(tmp_path / "store", source, ids, HPA, 64)
    assert np.array_equal(packed.images, expected(source, ids, 64))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_joined_images_are_read_as_one_array(sizes, data):
    whole = np.random.default_rng(0).integers(0, 256, (sum(sizes), 2, 2, 3), np.uint8)
    joined = ConcatenatedImages(np.split(whole, np.cumsum(sizes)[:-1]))
    rows = np.array(data.draw(st.lists(st.integers(0, len(whole) - 1))), np.int64)
    assert (len(joined), joined.shape) == (len(whole), whole.shape)
    np.testing.assert_array_equal(joined[rows], whole[rows])
    for row in rows.tolist():
        np.testing.assert_array_equal(joined[row], whole[row])
        assert np.shares_memory(joined[row], whole)


@given(st.integers(0, 50), st.integers(1, 9), st.integers(1, 7))
def test_parts_are_all_rows_once(rows, count, unit):
    parts = [rows_of((number, count), rows, unit) for number in range(1, count + 1)]
    assert [row for part in parts for row in part] == list(range(rows))
    assert [part.start % unit for part in parts if part] == [0] * len([part for part in parts if part])


@given(st.permutations([1, 2, 3]), st.integers(0, 3), st.sets(st.integers(0, 2)))
def test_a_store_packed_in_parts_is_that_of_one_process(order, count, broken):
    """In any order, with parts left out or their notes cut short."""
    with tempfile.TemporaryDirectory() as place:
        folder, source, expected = Path(place) / "store", *SHARDED()
        for number in order[:count]:
            pack_part(folder, source, IDS[:10], HPA, SIZE, None, (number, 3))
            assert not folder.exists()
        notes = sorted(folder.with_name("store.partial").glob("*-*.npy"))
        for number in broken:
            if number < len(notes):
                os.truncate(notes[number], 100)
        store = pack(folder, source, IDS[:10], HPA, SIZE)
        assert {file.name: file.read_bytes() for file in folder.iterdir()} == expected
        assert len(store.ids) == 10


@functools.cache
def SHARDED():  # noqa: N802
    """Samples, and the files of their store as one process packs it."""
    place = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, place)
    random = np.random.default_rng(0)
    (place / "source").mkdir()
    for identifier in IDS[:10]:
        for channel in HPA.channels:
            pixels = random.integers(0, 256, (12, 12), np.uint8)
            Image.fromarray(pixels).save(place / "source" / f"{identifier}_{channel}.png")
    pack(place / "store", place / "source", IDS[:10], HPA, SIZE)
    return place / "source", {file.name: file.read_bytes() for file in (place / "store").iterdir()}


def test_what_parts_have_packed_is_not_packed_again(tmp_path, source, decoded):
    folder = tmp_path / "store"
    for number in (3, 1):
        pack_part(folder, source, IDS, HPA, SIZE, None, (number, 4))
    assert sorted(decoded) == [*IDS[:10], *IDS[20:30]]
    pack_part(folder, source, IDS, HPA, SIZE, None, (1, 4))
    assert len(decoded) == 20
    pack(folder, source, IDS, HPA, SIZE)
    assert sorted(decoded) == IDS.tolist()
    pack_part(folder, source, IDS, HPA, SIZE, None, (2, 4))
    assert len(decoded) == 40


def test_an_image_that_a_part_cannot_read_is_named(tmp_path, source):
    (source / "s0033_red.png").write_bytes(b"no image")
    pack_part(tmp_path / "store", source, IDS, HPA, SIZE, None, (1, 4))
    with pytest.raises(BadInput, match="id s0033: "):
        pack_part(tmp_path / "store", source, IDS, HPA, SIZE, None, (4, 4))
