"""Four devices against one, in processes of their own: XLA and TensorFlow divide a processor before they are first used."""

import re

import numpy as np
import pandas as pd
import pytest
from distributed import CASES
from other_backend import under

from hpa.errors import BadInput
from hpa.registry import LOSSES
from hpa.runs.folder import TIMES, read_history
from hpa.settings import Settings, parse_loss
from hpa.training.distribution import count_devices

PYTHONS = "tensorflow", "jax"
QUICK = "binary-crossentropy+soft-f1"  # a part that Keras computes, and one that is no mean over rows


def on_four(backend, tmp_path, *arguments):
    """Do `distributed.py` and return the finished process."""
    return under(backend, "distributed.py", tmp_path, *arguments)


def test_every_loss_is_tried():
    assert set(LOSSES) == {part for loss in CASES for part in parse_loss(loss)}


@pytest.mark.parametrize("backend", PYTHONS)
@pytest.mark.parametrize(
    "losses",
    [[QUICK], pytest.param([loss for loss in CASES if loss != QUICK], marks=pytest.mark.slow)],
    ids=["one", "others"],
)
def test_four_devices_learn_as_one_does(losses, backend, tmp_path):
    """Losses and scores of ten steps; the weights after one step of SGD, so the gradient; all state after ten."""
    done = on_four(backend, tmp_path, "steps", str(tmp_path / "found.npz"), *losses)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "found.npz") as file:
        found = dict(file)
    for loss in losses:
        for name in ("logs", "first", "last"):
            one, four = found[f"{loss} 1 {name}"], found[f"{loss} 4 {name}"]
            np.testing.assert_allclose(four, one, rtol=1e-4, atol=1e-4, err_msg=f"{loss}, {name}")
        first, start = found[f"{loss} 4 first"], found[f"{loss} 4 start"]
        assert np.abs(first[: len(start)] - start).max() > 1e-3, loss  # it has learned


@pytest.mark.slow
@pytest.mark.parametrize("backend", PYTHONS)
def test_a_run_on_four_devices_goes_on_with_four_and_with_two(backend, drawn_data, tmp_path):
    done = on_four(backend, tmp_path, "whole", str(drawn_data), str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    assert re.search("as 4 devices; float32; (no )?XLA", done.stdout)
    assert "test.npz is written" in done.stdout
    done = on_four(backend, tmp_path, "two", str(drawn_data), str(tmp_path / "runs"))
    assert done.returncode == 0, done.stderr
    names = "whole", "then-4", "then-2", "unfrozen-0", "unfrozen-1", "unfrozen-1-two"
    histories = [read_history(tmp_path / "runs" / name / "base").drop(columns=list(TIMES)) for name in names]
    whole, four, two, at_once, unfrozen, unfrozen_on_two = histories
    pd.testing.assert_frame_equal(whole, four, rtol=1e-6 if backend == "jax" else 1e-4)
    # 45 rows make batches of 16 on four devices: three rows come again.
    np.testing.assert_allclose(two["loss"], whole["loss"], rtol=0.02)
    np.testing.assert_allclose(unfrozen_on_two["loss"], unfrozen["loss"], rtol=1e-3)
    assert abs(unfrozen["loss"][0] / at_once["loss"][0] - 1) > 0.003  # convolutions that learn at once learn otherwise


@pytest.mark.parametrize("backend", PYTHONS)
@pytest.mark.parametrize(
    ("devices", "told"),
    [
        ("5", r"hpa.train: --devices: 5 asked for, and {backend} finds 4 \(cpu:0, cpu:1, cpu:2, cpu:3\)"),
        ("3", r"hpa.train: --batch-size 16: 3 devices cannot share it equally; choose 15 or 18"),
    ],
)
def test_what_cannot_be_is_told_in_a_line_and_leaves_nothing(devices, told, backend, drawn_data, tmp_path):
    done = on_four(backend, tmp_path, "refused", str(drawn_data), str(tmp_path / "runs"), "--devices", devices)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(told.format(backend=backend) + "\n", done.stderr)
    assert not list((tmp_path / "runs").glob("*/base"))


def test_one_device_is_there_and_no_more(monkeypatch):
    settings = Settings()
    assert count_devices(1, settings) == count_devices("all", settings) == 1
    for asked in (2, 0, "two"):
        with pytest.raises(BadInput, match=f"devices:? {asked}"):
            count_devices(asked, settings)
    monkeypatch.setattr("hpa.training.distribution._names", lambda: ["gpu:0", "gpu:1"])
    assert count_devices("all", settings) == 2
    with pytest.raises(BadInput, match="augment_on device: is for one device"):
        count_devices(2, Settings(augment_on="device"))
    with pytest.raises(BadInput, match=r"clip_norm 1\.0: under TensorFlow each device"):
        count_devices(2, Settings(clip_norm=1.0))
    for room in ("distribution", "resolve"):
        monkeypatch.setattr(f"hpa.training.{room}.backend", lambda: "jax")
    assert count_devices(2, Settings(clip_norm=1.0)) == 2
    for room in ("distribution", "resolve"):
        monkeypatch.setattr(f"hpa.training.{room}.backend", lambda: "torch")
    monkeypatch.setattr("hpa.training.distribution.accelerators", lambda: 2)
    with pytest.raises(BadInput, match="several are for jax and tensorflow"):
        count_devices("all", settings)
    monkeypatch.setattr("hpa.training.distribution.accelerators", lambda: 0)
    assert count_devices("all", settings) == 1
