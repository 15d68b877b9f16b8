"""What networks compute on: the devices that Keras' backend uses or leaves unused, and their fastest precision."""

import logging
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from hpa.backend import backend, quiet_import, require_backend
from hpa.files import cores
from hpa.resources import free_memory, in_gibibytes

logger = logging.getLogger(__name__)

PROCESSOR = Path("/proc/cpuinfo")
# What `pip install` needs in addition to the plain package, so that a backend finds a GPU.
WITH_GPU = {"tensorflow": "tensorflow[and-cuda]", "jax": "jax[cuda13]", "torch": "torch"}
PACKAGES = ("keras", "numpy", "scikit-learn", "pyimgaug", "opencv-python")


@dataclass(frozen=True)
class Gpu:
    """A GPU as `nvidia-smi` tells of it.

    Attributes:
        name: the product's name.
        memory: in bytes.
        capability: NVIDIA's compute capability, such as 8.0.
    """

    name: str
    memory: int
    capability: float

    def __str__(self) -> str:
        return f"{self.name}, {in_gibibytes(self.memory)} of memory, compute capability {self.capability}"


def nvidia_gpus() -> list[Gpu]:
    """Return the GPUs that `nvidia-smi` lists; none where it does not answer."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60, check=True).stdout
        rows = [line.rsplit(", ", 2) for line in answer.splitlines()]
        return [Gpu(name, int(mebibytes) * 2**20, float(capability)) for name, mebibytes, capability in rows]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def accelerators() -> int:
    """Return how many GPUs, or other devices than the processor, Keras' backend uses."""
    with quiet_import():
        import keras
    if keras.backend.backend() == "torch":
        import torch

        return int(torch.accelerator.device_count())
    return sum(not device.lower().startswith("cpu") for device in keras.distribution.list_devices())


def free_device_memory() -> int | None:
    """Return how many bytes are free on the first device that Keras' backend uses; None where it does not tell."""
    if not accelerators():
        return free_memory()
    if backend() == "torch":
        import torch

        return int(torch.cuda.mem_get_info()[0]) if torch.cuda.is_available() else None
    if backend() == "jax":
        import jax

        known = jax.local_devices()[0].memory_stats() or {}
        return known["bytes_limit"] - known["bytes_in_use"] if "bytes_limit" in known else None
    import tensorflow as tf

    gpus = nvidia_gpus()  # TensorFlow takes all of the memory at its start, so that nvidia-smi finds none free
    return gpus[0].memory - tf.config.experimental.get_memory_info("GPU:0")["current"] if gpus else None


def fastest_precision() -> str:
    """Return the precision, one of `PRECISIONS`, for convolutions of 32 filters or more on this computer's devices.

    bfloat16 is for GPUs of compute capability 8.0 or higher, and for TensorFlow on processors with matrix units: a CellNet
    trains about twice as fast in it. Elsewhere bfloat16 is emulated, and slow.
    """
    gpus = nvidia_gpus()
    if gpus and accelerators():
        fast = all(gpu.capability >= 8 for gpu in gpus)
    else:
        fast = backend() == "tensorflow" and PROCESSOR.exists() and "amx_bf16" in PROCESSOR.read_text().split()
    return "mixed_bfloat16" if fast else "float32"


def compiles(devices: int = 1) -> bool:
    """Return whether XLA compiles networks here: under JAX, and under TensorFlow on one GPU; on several Keras forgoes it.

    XLA made TensorFlow's training step of variant 0 about six times slower on two CPU cores.
    """
    return backend() == "jax" or (backend() == "tensorflow" and accelerators() > 0 and devices == 1)


def jit_compile() -> str | bool:
    """Return the setting `jit_compile` of Keras: "auto", so that layers without XLA are met, or False."""
    return "auto" if compiles() else False


@cache
def announce(precision: str, devices: int = 1) -> None:
    """Log in one line what networks of a precision run on, and warn of GPUs that they leave unused; once in a process.

    They use so many of the `devices` that Keras' backend finds.
    """
    if reason := unused_gpu(devices):
        logger.warning(reason)
    logger.info("%s; %s; %s", used_devices(devices), precision, "XLA" if compiles(devices) else "no XLA")


def used_devices(devices: int | None = None) -> str:
    """Return Keras' backend and the devices that it uses, all or so many, with their memory."""
    used, memory = min(accelerators(), devices or sys.maxsize), free_memory()
    if used:
        names = "; ".join(map(str, nvidia_gpus()[:used])) or f"{used} device{'s' if used > 1 else ''}"
    else:
        names = f"CPU, {cores()} core{'s' if cores() > 1 else ''}"
        names += f", {in_gibibytes(memory)} of memory free" if memory is not None else ""
        names += f", as {devices} devices" if devices and devices > 1 else ""
    return f"{backend()} on {names}"


def overview() -> str:
    """Return what networks run on here, what is left unused, the fastest precision, and the versions of the libraries."""
    lines = [used_devices(), *(f"unused: {reason}" for reason in [unused_gpu()] if reason)]
    lines += [f"GPU: {gpu}" for gpu in nvidia_gpus()] or ["no GPU: nvidia-smi is absent or lists none"]
    lines += [f"fastest precision: {fastest_precision()}", f"XLA: {'on' if compiles() else 'off'}"]
    return "\n".join(lines + [f"{name} {number}" for name, number in versions().items()])


def unused_gpu(devices: int | None = None) -> str | None:
    """Return why GPUs of this computer are not used, and how to fix it; None if there are none or all is well.

    Networks use all devices that Keras' backend finds, or so many.
    """
    gpus, found = nvidia_gpus(), accelerators()
    if gpus and found > (devices or found):
        return f"{devices} of {found} GPUs used; train with --devices all, or predict parts of a set (--shard) on each"
    if not gpus or found:
        return None
    reason, fix = f"{backend()} finds no GPU", f"pip install '{WITH_GPU[backend()]}'"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None and hidden.split(",")[0].strip() in ("", "-1"):
        reason, fix = f"CUDA_VISIBLE_DEVICES is '{hidden}'", "unset it"
    return f"{gpus[0]} is not used, since {reason}; {fix}"


def versions() -> dict[str, str]:
    """Return the versions of Python, hpa, and the libraries that a result depends on, by name.

    Raises:
        BadInput: if KERAS_BACKEND names a backend that Keras cannot train with here.
    """
    from hpa import __version__

    require_backend(backend())
    named = {name: version(name) for name in (backend(), *PACKAGES)}
    return {"python": platform.python_version(), "hpa": __version__, **named}
