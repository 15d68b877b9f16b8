import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from hpa.errors import BadInput
from hpa.models.tensors import MAGIC, assign_tensors, read_tensors, wheel_file

ORDERED = b"ccollections\nOrderedDict\n)R"


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def tuple_of(*numbers):
    return b"(" + b"".join(b"K" + bytes([number]) for number in numbers) + b"t"


def tensor(key, size, offset, shape, strides, storage="FloatStorage", legacy=False):
    """The pickled opcodes of one tensor, as torch.save writes them."""
    stored = b"(" + text("storage") + b"ctorch\n" + storage.encode() + b"\n" + text(key) + text("cuda:1")
    stored += b"J" + struct.pack("<i", size) + (b"N" if legacy else b"") + b"tQ"
    place = b"K" + bytes([offset]) + tuple_of(*shape) + tuple_of(*strides)
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + place + b"\x89" + ORDERED + b"tR"


def state_dict(**tensors):
    return b"\x80\x02" + ORDERED + b"(" + b"".join(text(name) + each for name, each in tensors.items()) + b"u."


def write_archive(path, pickled, storages, compression=zipfile.ZIP_STORED, byteorder=b"little"):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", byteorder)
        for key, values in storages.items():
            archive.writestr(f"archive/data/{key}", values.tobytes())


def write_before_archives(path, pickled, storages, magic=MAGIC):
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    with open(path, "wb") as file:
        for each in (magic, 1001, facts):
            pickle.dump(each, file, protocol=2)
        file.write(pickled)
        pickle.dump(list(storages), file, protocol=2)
        for values in storages.values():
            file.write(struct.pack("<q", len(values)) + values.tobytes())


NUMBERS = np.arange(24, dtype=np.float32)


@pytest.mark.parametrize("legacy", [False, True])
def test_views_keep_their_strides_and_offsets(tmp_path, legacy):
    write = write_before_archives if legacy else write_archive
    pickled = state_dict(
        whole=tensor("a", 24, 0, (4, 6), (6, 1), legacy=legacy),
        permuted=tensor("a", 24, 0, (3, 2, 4), (1, 12, 3), legacy=legacy),
        part=tensor("a", 24, 5, (2, 2), (6, 2), legacy=legacy),
        counted=tensor("b", 1, 0, (), (), "LongStorage", legacy=legacy),
    )
    write(tmp_path / "weights.pth", pickled, {"a": NUMBERS, "b": np.array([7])})
    tensors = read_tensors(tmp_path / "weights.pth")
    np.testing.assert_array_equal(tensors["whole"], NUMBERS.reshape(4, 6))
    np.testing.assert_array_equal(tensors["permuted"], NUMBERS.reshape(2, 4, 3).transpose(2, 0, 1))
    np.testing.assert_array_equal(tensors["part"], [[5, 7], [11, 13]])
    assert tensors["counted"] == 7


def test_what_torch_writes_is_what_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    state = OrderedDict(
        permuted=torch.randn(3, 4, 5).permute(2, 0, 1),
        half=torch.randn(6).half(),
        brief=torch.randn(6).bfloat16(),
        parameter=torch.nn.Parameter(torch.randn(2, 2)),
        count=torch.tensor(3),
    )
    for legacy in (False, True):
        torch.save(state, tmp_path / "weights.pt", _use_new_zipfile_serialization=not legacy)
        tensors = read_tensors(tmp_path / "weights.pt")
        assert tensors.keys() == state.keys()
        for name, expected in state.items():
            np.testing.assert_array_equal(tensors[name].astype(np.float64), expected.detach().double().numpy())


class Harmful:
    """Pickled, it creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("legacy", [False, True])
def test_no_pickle_is_executed(tmp_path, legacy):
    pickled = pickle.dumps({"weight": Harmful(tmp_path / "harm")}, protocol=2)
    (write_before_archives if legacy else write_archive)(tmp_path / "weights.pth", pickled, {})
    with pytest.raises(BadInput, match="which no tensor needs"):
        read_tensors(tmp_path / "weights.pth")
    assert not (tmp_path / "harm").exists()
    pickle.loads(pickled)
    assert (tmp_path / "harm").exists()  # so it would have been created


FAULTS = {
    "beyond its storage": {"weight": tensor("a", 24, 5, (4, 6), (6, 1))},
    "faulty shape": {"weight": tensor("a", 24, 0, (4, 6), (6,))},
    "another size than it says": {"weight": tensor("a", 23, 0, (4,), (1,))},
    "no item named|larger than the file": {"weight": tensor("c", 1 << 30, 0, (4,), (1,))},
    "other things than arrays": {"weight": tensor("a", 24, 0, (4,), (1,)), "number": b"K\x01"},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("legacy", [False, True])
def test_faulty_tensors_are_refused(tmp_path, fault, legacy):
    tensors = FAULTS[fault]
    if legacy:
        tensors = {name: each.replace(b"tQ", b"NtQ", 1) for name, each in tensors.items()}
    (write_before_archives if legacy else write_archive)(tmp_path / "weights.pth", state_dict(**tensors), {"a": NUMBERS})
    with pytest.raises(BadInput, match=fault):
        read_tensors(tmp_path / "weights.pth")


def test_compressed_and_big_endian_storages_are_refused(tmp_path):
    pickled = state_dict(weight=tensor("a", 24, 0, (24,), (1,)))
    write_archive(tmp_path / "bomb.pth", pickled, {"a": NUMBERS}, compression=zipfile.ZIP_DEFLATED)
    write_archive(tmp_path / "big.pth", pickled, {"a": NUMBERS}, byteorder=b"big")
    for name, fault in (("bomb", "another size"), ("big", "big-endian")):
        with pytest.raises(BadInput, match=fault):
            read_tensors(tmp_path / f"{name}.pth")


def test_another_version_and_a_cut_file_are_refused(tmp_path):
    pickled = state_dict(weight=tensor("a", 24, 0, (24,), (1,), legacy=True))
    path = tmp_path / "weights.pth"
    write_before_archives(path, pickled, {"a": NUMBERS}, magic=7)
    with pytest.raises(BadInput, match=r"no file of torch\.save"):
        read_tensors(path)
    write_before_archives(path, pickled, {"a": NUMBERS})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(BadInput, match="another size than it says"):
        read_tensors(path)


def test_arrays_of_npz_and_h5_by_their_paths(tmp_path):
    np.savez(tmp_path / "weights.npz", a=NUMBERS)
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["block/vars/0"] = NUMBERS
    np.testing.assert_array_equal(read_tensors(tmp_path / "weights.npz")["a"], NUMBERS)
    np.testing.assert_array_equal(read_tensors(tmp_path / "weights.h5")["block/vars/0"], NUMBERS)


def test_each_kind_of_layer_takes_its_tensors_as_torch_lays_them_out():
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((5, 5, 3)),
            layers.Conv2D(4, (2, 3), name="convolution"),
            layers.DepthwiseConv2D((3, 2), use_bias=False, name="depthwise"),
            layers.BatchNormalization(name="batch"),
            layers.Flatten(),
            layers.Dense(2, name="dense"),
        ]
    )
    random = np.random.default_rng(0)
    shapes = {
        "convolution.weight": (4, 3, 2, 3),
        "convolution.bias": (4,),
        "depthwise.weight": (4, 1, 3, 2),
        **{f"batch.{part}": (4,) for part in ("weight", "bias", "running_mean", "running_var")},
        "dense.weight": (2, 16),
        "dense.bias": (2,),
    }
    tensors = {name: random.random(shape, np.float32) for name, shape in shapes.items()}
    named = {layer.name: layer for layer in network.layers if layer.weights}
    assign_tensors(named, tensors, Path("file"), "what")
    image = random.random((1, 5, 5, 3), np.float32)
    maps = np.zeros((4, 4, 3), np.float32)
    for out in range(4):
        for y in range(4):
            for x in range(3):
                window = image[0, y : y + 2, x : x + 3].transpose(2, 0, 1)
                maps[out, y, x] = (window * tensors["convolution.weight"][out]).sum() + tensors["convolution.bias"][out]
    deep = np.zeros((4, 2, 2), np.float32)
    for out in range(4):
        for y in range(2):
            for x in range(2):
                deep[out, y, x] = (maps[out, y : y + 3, x : x + 2] * tensors["depthwise.weight"][out, 0]).sum()
    batch = {part: tensors[f"batch.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")}
    deep = (deep - batch["running_mean"]) / np.sqrt(batch["running_var"] + 1e-3) * batch["weight"] + batch["bias"]
    expected = tensors["dense.weight"] @ deep.transpose(1, 2, 0).reshape(-1) + tensors["dense.bias"]
    np.testing.assert_allclose(network(image)[0], expected, rtol=1e-4)


def test_a_package_that_is_not_installed_is_named():
    with pytest.raises(BadInput, match="pip install --no-deps some-package==1"):
        wheel_file("no_such_package_here", "file", "some-package==1")


def test_a_file_of_an_installed_package():
    assert wheel_file("hpa", "registry.py", "hpa").is_file()
