"""Augmentation in the training step gives what the host gives, but for the rounding of interpolation."""

import shutil

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from hpa import finetune, hardware, train
from hpa.data.augment import augment, is_movable, policies_for
from hpa.data.feed import Feed
from hpa.errors import BadInput
from hpa.hardware import Gpu
from hpa.registry import AUGMENTATIONS, MIXINGS, Warp
from hpa.runs.folder import TIMES, read_history, read_settings
from hpa.scoring.predictions import read_predictions
from hpa.settings import Settings
from hpa.training import fit, plan
from hpa.training.on_device import OnDevice, moved

COUNT, ROWS = 24, np.r_[20:24, 1:9, 12:18]
MOVING = [policy for policy in policies_for(4) if is_movable(policy)]


def pictures(side, channels):
    """Smooth images with much contrast, uint8 [COUNT, side, side, channels]."""
    noise = np.random.default_rng(0).normal(size=(COUNT, side, side, channels))
    smooth = np.stack([cv2.GaussianBlur(each, (0, 0), 3).reshape(each.shape) for each in noise])
    return np.clip(100 + 100 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def feeds(images, policy, mixing="none"):
    """Return the same feed for the host and for the device; every image has a target of its own."""
    arguments = (images, np.eye(COUNT, dtype=np.uint8), ROWS, policy, mixing, 3, None, np.linspace(0.5, 1, COUNT))
    return Feed(*arguments), Feed(*arguments, on_device=True)


def made(model, numbers):
    return keras.ops.convert_to_numpy(model.images(keras.ops.convert_to_tensor(numbers)))


@pytest.mark.parametrize(
    ("policy", "mixing", "side", "channels"),
    [
        *((policy, "none", 40, 4) for policy in MOVING),
        *(("report", mixing, 40, 4) for mixing in MIXINGS if mixing != "none"),
        *(("report", "mosaic", 31, channels) for channels in (1, 3, 7)),
        ("cells", "mix-up", 2, 1),
        ("report", "none", 1, 4),
    ],
)
def test_the_device_makes_the_pictures_of_the_host(policy, mixing, side, channels):
    host, device = feeds(pictures(side, channels), policy, mixing)
    model = OnDevice(keras.Sequential(), device)
    for epoch in range(3):
        items = host.order(epoch)[:12]
        expected, *targets = host.load(epoch, items)
        numbers, *same_targets = device.load(epoch, items)
        assert numbers.shape == (12, device.columns)
        for one, other in zip(targets, same_targets, strict=True):
            np.testing.assert_array_equal(one, other)
        found = made(model, numbers)
        assert (found.dtype, found.shape) == (np.uint8, expected.shape)
        difference = np.abs(found.astype(int) - expected)
        assert difference.max() <= 2
        assert difference.mean() < 0.01  # numbers that lie between two are rounded the other way, now and then


def test_noise_has_the_moments_that_were_drawn():
    images = np.full((COUNT, 96, 96, 4), 120, np.uint8)
    _, device = feeds(images, "report")
    numbers, *_ = device.load(0, device.order(0))
    found = made(OnDevice(keras.Sequential(), device), numbers).astype(float)
    deviations, grey = numbers[:, 8], numbers[:, 9].astype(bool)
    assert len(set(grey)) == 2
    assert np.abs(found.mean(axis=(1, 2)) - 120).max() < 0.2
    # Rounding to whole numbers adds a variance of 1/12 or, if there is hardly any noise, takes all of it away.
    clear = deviations > 0.5
    expected = np.sqrt(deviations[clear] ** 2 + 1 / 12)[:, None]
    assert found.std(axis=(1, 2))[clear] == pytest.approx(np.broadcast_to(expected, (clear.sum(), 4)), rel=0.05)
    alike = (found == found[..., :1]).all(axis=(1, 2, 3))
    assert (alike == (grey | (found == 120).all(axis=(1, 2, 3)))).all()


@pytest.mark.parametrize(("border", "expected"), [("reflect", 2), ("symmetric", 1), ("constant", 0)])
def test_what_lies_beyond_the_edge(border, expected):
    ramp = np.broadcast_to(np.arange(1, 6, dtype=np.uint8)[:, None, None], (1, 5, 5, 1))
    up = np.array([[1, 0, 0, 0, 1, -1]], np.float32)  # each row shows the one above it
    found = keras.ops.convert_to_numpy(moved(keras.ops.convert_to_tensor(ramp), up, border, False))
    assert found[0, :, 2, 0].tolist() == [expected, 1, 2, 3, 4]


OPTIONS = [
    "--task", "hep2", "--name", "cells", "--size", "32", "--filters", "4", "--blocks", "1", "--batch-size", "25",
    "--oversampling", "0.3", "--class-weights", "square-root", "--precision", "float32", "--epochs", "3",
]  # fmt: skip


def run(command, data, runs, *options):
    return command.main(["--data", str(data), "--runs", str(runs), *options])


@pytest.fixture(scope="module")
def runs(drawn_cells, tmp_path_factory):
    """Two folders of runs: of the host and, with its fine-tune stage, of the device."""
    folders = {place: tmp_path_factory.mktemp(place) for place in ("host", "device")}
    for place, folder in folders.items():
        assert run(train, drawn_cells, folder, *OPTIONS, *(["--augment-on", "device"] if place == "device" else [])) == 0
    return folders


def test_a_run_learns_the_same_on_both_and_keeps_its_network_alone(runs):
    host, device = (pd.read_csv(runs[place] / "cells/base/history.csv") for place in ("host", "device"))
    np.testing.assert_allclose(device["loss"], host["loss"], rtol=2e-3)
    sizes = [(runs[place] / "cells/base/model.keras").stat().st_size for place in ("host", "device")]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)
    assert [read_settings(runs[place] / "cells/base").augment_on for place in ("host", "device")] == ["host", "device"]


def test_validation_pixels_are_untouched(runs, drawn_cells):
    folder = runs["device"] / "cells/base"
    [store] = (runs["device"] / "stores").glob("validation-*")
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    predicted = model.predict(np.load(store / "images.npy"), verbose=0)
    np.testing.assert_allclose(read_predictions(folder / "validation.npz").probabilities, predicted, atol=1e-6)


def test_a_stopped_run_goes_on_where_it_was_without_being_told_the_place_again(runs, drawn_cells, tmp_path, monkeypatch):
    write_history = fit.write_history

    def interrupt_after_writing(*arguments):
        write_history(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fit, "write_history", interrupt_after_writing)
        assert run(train, drawn_cells, tmp_path, *OPTIONS, "--augment-on", "device") == 1
    assert len(pd.read_csv(tmp_path / "cells/base/history.csv")) == 1
    assert run(train, drawn_cells, tmp_path, *OPTIONS) == 0
    folders = [folder / "cells/base" for folder in (tmp_path, runs["device"])]
    histories = [read_history(folder).drop(columns=list(TIMES)) for folder in folders]
    assert histories[0].equals(histories[1])


def test_another_place_in_the_same_folder_is_refused_and_a_stage_chooses_its_own(runs, drawn_cells, tmp_path, capsys):
    shutil.copytree(runs["device"], tmp_path / "runs")
    assert run(train, drawn_cells, tmp_path / "runs", *OPTIONS, "--augment-on", "host") == 2
    assert "augment_on device, now host" in capsys.readouterr().err
    stage = ["--name", "cells", "--stage", "cnn", "--epochs", "1"]
    assert run(finetune, drawn_cells, tmp_path / "runs", *stage) == 0
    assert read_settings(tmp_path / "runs/cells/cnn").augment_on == "host"


def test_a_run_of_a_larger_device_is_looked_at_and_used_on_a_smaller_one(runs, drawn_cells, tmp_path, monkeypatch, capsys):
    shutil.copytree(runs["device"], tmp_path / "runs")
    monkeypatch.setattr(plan, "free_device_memory", lambda: 1000)
    assert run(train, drawn_cells, tmp_path / "runs", *OPTIONS) == 0
    assert "is finished already" in capsys.readouterr().out
    (tmp_path / "runs/cells/base/history.csv").unlink()
    assert run(train, drawn_cells, tmp_path / "runs", *OPTIONS, "--check-only") == 0
    assert run(train, drawn_cells, tmp_path / "runs", *OPTIONS) == 2
    told = capsys.readouterr().err
    assert "cells/base: was begun with augment_on device, and the " in told
    assert " training images need " in told
    assert "go on where a device has more memory" in told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--augmentation", "blur"], "--augment-on device: augmentation blur is done by the host alone; choose host"),
        (["--progressive-resizing", "0.5"], "--augment-on device: progressive resizing is done by the host alone"),
    ],
)
def test_what_the_device_cannot_do_is_refused_before_anything_is_written(drawn_cells, tmp_path, capsys, options, message):
    assert run(train, drawn_cells, tmp_path / "runs", *OPTIONS, "--augment-on", "device", *options) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("config.json"))


def place(**settings):
    return plan.place_of_augmentation(Settings(size=256, **settings), 24_858, 4)


def test_the_place_follows_the_gpu_its_memory_and_the_policy(monkeypatch, capsys):
    assert place() == "host"
    monkeypatch.setattr(plan, "nvidia_gpus", lambda: [Gpu("NVIDIA H100", 80 * 2**30, 9.0)])
    assert place() == "host"  # the backend does not use it
    monkeypatch.setattr(plan, "accelerators", lambda: 1)
    for free in (None, 80 * 2**30):
        monkeypatch.setattr(plan, "free_device_memory", lambda free=free: free)
        assert place() == "device"
        assert place(augment_on="host") == "host"
    assert capsys.readouterr().out == ""
    assert place(augmentation="exposure") == "host"
    assert "on the host: augmentation exposure is done by the host alone\n" in capsys.readouterr().out
    monkeypatch.setattr(plan, "free_device_memory", lambda: 12 * 2**30)
    assert place() == "host"
    reason = "the 24,858 training images need 6.07 GiB of the device's memory, and may have at most 50% of the 12 GiB"
    assert f"images are augmented on the host: {reason} that are free\n" in capsys.readouterr().out
    with pytest.raises(BadInput, match=f"augment_on device: {reason}"):
        place(augment_on="device")


def test_memory_of_a_device_without_gpu_is_the_computers():
    assert hardware.free_device_memory() == pytest.approx(hardware.free_memory(), rel=0.2)


def test_a_registered_map_is_made_on_the_device_too():
    AUGMENTATIONS.register("registered-zoom", Warp(AUGMENTATIONS["crop"].draw, border="constant", cubic=True))
    try:
        images = pictures(40, 2)
        _, device = feeds(images, "registered-zoom")
        items = device.order(0)
        found = made(OnDevice(keras.Sequential(), device), device.load(0, items)[0])
        difference = np.abs(found.astype(int) - augment(images, items, "registered-zoom", 3, 0, items))
        assert difference.max() <= 2
    finally:
        del AUGMENTATIONS["registered-zoom"]
