"""What a GPU would change, with an `nvidia-smi` that this test writes; whether a backend finds one is as it is here."""

import subprocess
import sys
from pathlib import Path

import keras
import pytest

from hpa import hardware
from hpa.errors import BadInput
from hpa.hardware import Gpu

ROOT = Path(__file__).resolve().parents[1]
LISTED = "NVIDIA H100, PCIe, 81559, 9.0\nTesla T4, 15360, 7.5\n"
H100, T4 = Gpu("NVIDIA H100, PCIe", 81559 * 2**20, 9.0), Gpu("Tesla T4", 15360 * 2**20, 7.5)


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """A function that lets `nvidia-smi` print a text and exit with a code."""

    def write(text, code=0):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\nprintf '{text}'\nexit {code}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    monkeypatch.setenv("PATH", str(tmp_path))
    return write


def test_the_gpus_are_those_that_nvidia_smi_lists(nvidia_smi):
    assert hardware.nvidia_gpus() == []
    nvidia_smi(LISTED)
    assert hardware.nvidia_gpus() == [H100, T4]
    assert str(T4) == "Tesla T4, 15 GiB of memory, compute capability 7.5"
    for text, code in [("No devices were found", 0), (LISTED, 9), ("[N/A], [N/A], [N/A]", 0), ("", 0)]:
        nvidia_smi(text, code)
        assert hardware.nvidia_gpus() == []


@pytest.mark.parametrize(
    ("flags", "precision"),
    [("flags\t\t: fpu amx_bf16 amx_tile", "mixed_bfloat16"), ("flags\t\t: fpu avx512_bf16", "float32"), (None, "float32")],
)
def test_the_precision_follows_the_processor(flags, precision, nvidia_smi, tmp_path, monkeypatch):
    if flags:
        (tmp_path / "cpuinfo").write_text(flags + "\n")
    monkeypatch.setattr(hardware, "PROCESSOR", tmp_path / "cpuinfo")
    assert hardware.fastest_precision() == precision
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # whose bfloat16 does not use the units
    assert hardware.fastest_precision() == "float32"


@pytest.mark.parametrize(
    ("listed", "used", "precision"),
    [
        ("NVIDIA H100, 81559, 9.0\n", 1, "mixed_bfloat16"),
        ("NVIDIA A100, 40960, 8.0\n", 1, "mixed_bfloat16"),
        ("Tesla T4, 15360, 7.5\n", 1, "float32"),
        (LISTED, 2, "float32"),
        ("NVIDIA H100, 81559, 9.0\n", 0, "float32"),
    ],
)
def test_the_precision_follows_the_gpus_that_are_used(listed, used, precision, nvidia_smi, monkeypatch, tmp_path):
    nvidia_smi(listed)
    monkeypatch.setattr(hardware, "PROCESSOR", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "accelerators", lambda: used)
    assert hardware.fastest_precision() == precision
    assert hardware.jit_compile() == ("auto" if used else False)


def test_a_gpu_that_is_not_used_is_told_with_the_way_to_use_it(nvidia_smi, monkeypatch, capsys):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware.unused_gpu() is None
    nvidia_smi(LISTED)
    hardware.announce.cache_clear()
    for _ in range(2):
        hardware.announce("float32")
    out, err = capsys.readouterr()
    assert err == f"{H100} is not used, since tensorflow finds no GPU; pip install 'tensorflow[and-cuda]'\n"
    assert out.startswith("tensorflow on CPU, ")
    assert len(out.splitlines()) == 1
    assert out.endswith("GiB of memory free; float32; no XLA\n")
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert hardware.unused_gpu().endswith(f"since CUDA_VISIBLE_DEVICES is '{hidden}'; unset it")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")  # it hides the first of them alone
    assert hardware.unused_gpu().endswith("since tensorflow finds no GPU; pip install 'tensorflow[and-cuda]'")
    monkeypatch.setattr(hardware, "accelerators", lambda: 1)
    assert hardware.unused_gpu() is None
    assert hardware.used_devices() == f"tensorflow on {H100}"


def test_several_gpus_are_named_and_those_left_over_are_told(nvidia_smi, monkeypatch, capsys):
    nvidia_smi(LISTED)
    monkeypatch.setattr(hardware, "accelerators", lambda: 2)
    assert hardware.used_devices(1) == f"tensorflow on {H100}"
    assert hardware.used_devices() == hardware.used_devices(2) == f"tensorflow on {H100}; {T4}"
    assert hardware.unused_gpu() is hardware.unused_gpu(2) is None
    assert (hardware.compiles(1), hardware.compiles(2)) == (True, False)
    hardware.announce.cache_clear()
    hardware.announce("float32")
    hardware.announce("float32", 2)
    out, err = capsys.readouterr()
    assert out == f"tensorflow on {H100}; float32; XLA\ntensorflow on {H100}; {T4}; float32; no XLA\n"
    assert err == "1 of 2 GPUs used; train with --devices all, or predict parts of a set (--shard) on each\n"


def test_the_command_shows_devices_and_versions():
    done = subprocess.run([sys.executable, "-m", "hpa.devices"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tensorflow on ")
    assert f"keras {keras.__version__}\n" in done.stdout
    assert "fastest precision: " in done.stdout


def test_versions_of_a_backend_that_is_not_there_are_refused(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setattr("hpa.backend.importlib.util.find_spec", lambda name: None)
    with pytest.raises(BadInput, match="KERAS_BACKEND is torch, and torch is not installed"):
        hardware.versions()
