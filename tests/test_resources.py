"""What memory and disk can be had, on Linux in and outside of control groups, and elsewhere."""

import os
import shutil

import pytest

from hpa import resources
from hpa.errors import BadInput, Failure

GIB = 2**30
MEMINFO = f"MemTotal: {64 * 2**20} kB\nMemAvailable: {20 * 2**20} kB\nSwapFree: 0 kB\n"
VERSION_2 = {"memory.max": 8 * GIB, "memory.current": 5 * GIB, "memory.stat": f"anon 1\ninactive_file {GIB}"}
VERSION_1 = {
    "memory.limit_in_bytes": 4 * GIB, "memory.usage_in_bytes": 3 * GIB, "memory.stat": f"cache 1\ntotal_inactive_file {GIB}",
}  # fmt: skip


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that makes a machine of these files, `proc/...` and `cgroup/...`."""
    monkeypatch.setattr(resources, "PROC", tmp_path / "proc")
    monkeypatch.setattr(resources, "CGROUPS", tmp_path / "cgroup")

    def make(files):
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(str(text))

    return make


def group(folder, files):
    return {f"cgroup/{folder}/{name}": text for name, text in files.items()}


@pytest.mark.parametrize(
    ("files", "gibibytes"),
    [
        ({}, 20),
        ({"proc/meminfo": f"{MEMINFO}SwapFree: {5 * 2**20} kB"}, 25),
        ({"proc/self/cgroup": "0::/job/part", **group("job/part", VERSION_2)}, 4),
        ({"proc/self/cgroup": "0::/job/part", **group("job", VERSION_2)}, 4),  # the limit of a group around it
        ({"proc/self/cgroup": "0::/../other", **group("", VERSION_2)}, 4),  # a container sees its own group as the root
        ({"proc/self/cgroup": "0::/job", **group("job", VERSION_2 | {"memory.max": "max"})}, 20),
        ({"proc/self/cgroup": "0::/job", **group("job", VERSION_2 | {"memory.current": 99 * GIB})}, 0),
        ({"proc/self/cgroup": "3:cpu:/x\n4:memory:/job\n0::/", **group("memory/job", VERSION_1)}, 2),
        ({"proc/self/cgroup": "4:cpu,memory:/job", **group("memory", VERSION_1)}, 2),
        ({"proc/self/cgroup": "4:memory:/", **group("memory", VERSION_1 | {"memory.limit_in_bytes": 2**63 - 4096})}, 20),
        ({"proc/self/cgroup": "nonsense", **group("", {"memory.max": "?"})}, 20),
    ],
)
def test_memory_on_linux(machine, files, gibibytes):
    machine({"proc/meminfo": MEMINFO} | files)
    assert resources.free_memory() == gibibytes * GIB


@pytest.mark.parametrize("meminfo", [None, "MemTotal: 7 kB", "nonsense", "MemAvailable: x kB"])
def test_memory_where_the_system_has_other_names(machine, monkeypatch, meminfo):
    if meminfo:
        machine({"proc/meminfo": meminfo})
    monkeypatch.setattr(os, "sysconf", {"SC_PHYS_PAGES": 2**20, "SC_PAGE_SIZE": 2**12}.__getitem__)
    assert resources.free_memory() == 4 * GIB
    monkeypatch.delattr(os, "sysconf")
    assert resources.free_memory() is None
    resources.require_memory(2**80, "everything")


def test_too_much_memory_is_refused_with_both_numbers(monkeypatch):
    monkeypatch.setattr(resources, "free_memory", lambda: 20 * GIB)
    resources.require_memory(20 * GIB, "it")
    with pytest.raises(BadInput) as caught:
        resources.require_memory(37 * GIB, "a picture of 100000 pixels")
    assert str(caught.value) == (
        "a picture of 100000 pixels would need 37 GiB of memory, 20 GiB are free; choose a smaller size"
    )


def test_too_much_disk_is_refused_with_both_numbers(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=GIB // 10))
    resources.require_disk(tmp_path / "new" / "folder", GIB // 10, "it")
    with pytest.raises(Failure) as caught:
        resources.require_disk(tmp_path / "new" / "folder", 9000 * GIB, "the store", "free some space")
    assert str(caught.value) == "the store would need 9,000 GiB of disk, 0.10 GiB are free; free some space"
    assert not (tmp_path / "new").exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(total=0, free=0))
    resources.require_disk(tmp_path, GIB, "on a disk that tells nothing")


def test_the_numbers_of_this_machine():
    assert resources.free_memory() is None or 0 < resources.free_memory() < 2**60
    assert resources.free_disk("x/y") == pytest.approx(shutil.disk_usage(".").free, rel=0.2)
