"""16-bit images through measuring, packing and predicting, and what is said about dark and oblong ones."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from hpa import pack as command
from hpa import train as train_command
from hpa.data import intensity
from hpa.data.images import FULL, read_image
from hpa.data.intensity import measure, range_of_training_set, stated_range
from hpa.data.layout import find_files, list_ids
from hpa.data.store import pack, store_folder
from hpa.errors import BadInput
from hpa.files import write_json
from hpa.inference import predict
from hpa.options import read
from hpa.runs.folder import read_settings
from hpa.tasks import HEP2, HPA
from hpa.training.presets import preset_settings
from hpa.training.resolve import resolve, resolve_stage
from hpa.training.search import OF_THE_SEARCH

TASK = replace(HEP2, name="own", channels=("dapi", "actin"), suffixes=("_dapi", "_actin"))


def save(folder, identifier, dapi, actin):
    folder.mkdir(parents=True, exist_ok=True)
    for name, pixels in (("dapi", dapi), ("actin", actin)):
        Image.fromarray(pixels).save(folder / f"{identifier}_{name}.png")


@pytest.fixture
def data(tmp_path):
    """Twelve samples with 12 bits in 16-bit files of one channel, and 8 bits in the other."""
    random = np.random.default_rng(0)
    for number in range(12):
        deep = random.integers(100, 4096, (60, 60), np.uint16)
        save(tmp_path / "data" / "train", f"{number:02d}", deep, random.integers(0, 256, (60, 60), np.uint8))
    return tmp_path / "data"


def ids_of(data):
    return np.array(list_ids(data / "train", TASK))


def decoded(monkeypatch):
    seen, read_sample = [], intensity.read_sample
    monkeypatch.setattr(intensity, "read_sample", lambda files, task: seen.append(files) or read_sample(files, task))
    return seen


def test_the_range_is_that_of_all_pixels_but_one_in_ten_thousand(data):
    (low, high), eight_bits = measure("train", find_files(data / "train", ids_of(data), TASK), TASK)
    pixels = np.sort(np.stack([Image.open(file) for file in (data / "train").glob("*_dapi.png")]).ravel())
    assert eight_bits is None
    assert low == pixels[int(1e-4 * len(pixels))]
    assert high == pixels[int(np.ceil((1 - 1e-4) * len(pixels))) - 1]
    outlier = np.array(Image.open(data / "train" / "00_dapi.png"))
    outlier[0, 0], outlier[0, 1] = 65535, 0
    Image.fromarray(outlier).save(data / "train" / "00_dapi.png")
    again = measure("train", find_files(data / "train", ids_of(data), TASK), TASK)
    assert np.abs(np.subtract(again[0], (low, high))).max() < 10


def test_12_bits_fill_all_grey_levels(data, tmp_path):
    ranges = range_of_training_set(data, ids_of(data), TASK, tmp_path / "runs")
    store = pack(store_folder(tmp_path, data / "train", TASK, 60, ranges), data / "train", ids_of(data), TASK, 60, ranges)
    assert len(np.unique(store.images[..., 0])) == 256
    for channel, name in enumerate(TASK.channels):
        found = np.stack([Image.open(data / "train" / f"{each}_{name}.png") for each in ids_of(data)]).astype(float)
        if channel == 0:
            low, high = ranges[0]
            found = np.clip((found - low) / (high - low), 0, 1) * 255
        assert np.abs(store.images[..., channel] - found).max() <= 0.5


def test_a_set_is_measured_once_until_a_file_changes(data, tmp_path, monkeypatch):
    seen = decoded(monkeypatch)
    ranges = range_of_training_set(data, ids_of(data), TASK, tmp_path / "runs")
    assert len(seen) > 12
    seen.clear()
    assert range_of_training_set(data, ids_of(data), TASK, tmp_path / "runs") == ranges
    assert len(seen) == 1
    [kept] = (tmp_path / "runs" / "stores").glob("intensity-range-*.json")
    for damage in ("", "{}", '{"intensity_range": 3}', kept.read_text().replace("null", '"x"')):
        kept.write_text(damage)
        assert range_of_training_set(data, ids_of(data), TASK, tmp_path / "runs") == ranges
    save(data / "train", "00", np.full((60, 60), 60000, np.uint16), np.zeros((60, 60), np.uint8))
    assert range_of_training_set(data, ids_of(data), TASK, tmp_path / "runs")[0][1] == 60000
    shutil.copytree(data, tmp_path / "other")
    save(tmp_path / "other" / "train", "00", np.full((60, 60), 50000, np.uint16), np.zeros((60, 60), np.uint8))
    assert range_of_training_set(tmp_path / "other", ids_of(data), TASK, tmp_path / "runs")[0][1] == 50000
    assert len(list((tmp_path / "runs" / "stores").glob("intensity-range-*.json"))) == 2


def test_8_bits_are_not_measured_and_never_scaled(drawn_data, tmp_path, monkeypatch):
    seen = decoded(monkeypatch)
    ids = np.array(list_ids(drawn_data / "train", HPA))
    assert range_of_training_set(drawn_data, ids, HPA, tmp_path) is None
    assert len(seen) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("spoilt", "reason"),
    [
        (
            ("05", np.uint8, np.uint8),
            "05_dapi.png has 8 bits, but this channel is scaled by .*; save all with the same bits",
        ),
        (("05", np.uint16, np.uint16), "05_actin.png has 16 bits, but this channel has 8 in the training set"),
    ],
)
def test_8_and_16_bits_in_one_channel_are_refused(data, tmp_path, spoilt, reason):
    identifier, *kinds = spoilt
    ranges = range_of_training_set(data, ids_of(data), TASK, tmp_path / "runs")
    save(data / "train", identifier, *(np.full((60, 60), 200, kind) for kind in kinds))
    with pytest.raises(BadInput, match=reason):
        range_of_training_set(data, ids_of(data), TASK, tmp_path / "runs")
    with pytest.raises(BadInput, match=f"id 05: {reason}"):
        pack(tmp_path / "store", data / "train", ids_of(data), TASK, 60, ranges)


def test_16_bits_after_a_first_image_of_8_are_refused(data, tmp_path):
    save(data / "train", "00", np.zeros((60, 60), np.uint8), np.zeros((60, 60), np.uint8))
    assert range_of_training_set(data, ids_of(data), TASK, tmp_path / "runs") is None
    with pytest.raises(BadInput, match=r"id 01: 01_dapi.png has 16 bits, but this channel has 8 in the training set"):
        pack(tmp_path / "store", data / "train", ids_of(data), TASK, 60)


def test_a_channel_of_one_number_is_black(tmp_path):
    save(tmp_path / "train", "0", np.full((9, 9), 500, np.uint16), np.full((9, 9), 7, np.uint8))
    files = find_files(tmp_path / "train", ["0"], TASK)
    assert measure("train", files, TASK) == ((500, 501), None)
    assert not read_image(files[0], TASK, ranges=((500, 501), None))[..., 0].any()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("full", (FULL, FULL)),
        ("100:4095", ((100, 4095), (100, 4095))),
        ("0:4095, 8-bit", ((0, 4095), None)),
        ("8-bit,full", (None, FULL)),
    ],
)
def test_a_range_that_is_stated(text, expected):
    assert stated_range(read("intensity_range", text), TASK) == expected


@pytest.mark.parametrize("text", ["", "4095", "9:9", "9:8", "0:65536", "1:-9", "0:9,", "1:2:3", "x:y"])
def test_a_range_that_is_none(text, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main(["--intensity-range", text])
    assert caught.value.code == 2
    assert "expected LOW:HIGH with 0 <= LOW < HIGH <= 65535, full or 8-bit" in capsys.readouterr().err


def test_a_range_for_another_number_of_channels(data, tmp_path):
    options = {"intensity_range": read("intensity_range", "0:9,0:9,0:9")}
    with pytest.raises(BadInput, match="intensity_range: 3 intervals for 2 channels; give one for all, or for each"):
        resolve("cells", options, TASK, data, tmp_path)
    options = {"intensity_range": read("intensity_range", "0:9")}
    assert resolve("cells", options, TASK, data, tmp_path).intensity_range == ((0, 9), (0, 9))
    assert preset_settings("cells")["intensity_range"] is None
    assert "intensity_range" in OF_THE_SEARCH  # what a search finds is for other data too


def pixels(value, height=20, width=20):
    return np.full((height, width), value, np.uint8)


def test_images_that_are_not_square_are_told(tmp_path, capsys):
    for number, width in enumerate((20, 10, 30, 40, 50)):
        save(tmp_path / "train", number, pixels(200, 20, width), pixels(200, 20, width))
    for _ in range(2):
        pack(tmp_path / "store", tmp_path / "train", np.array(list("01234")), TASK, 8)
        assert capsys.readouterr().err == (
            f"{tmp_path / 'train'}: 4 of 5 images are not square and are stretched to a square: "
            "1_dapi.png 10x20, 2_dapi.png 30x20, 3_dapi.png 40x20, ...; "
            'state fit = "pad" or "crop" in the task file to keep their shape\n'
        )
        intensity.say_once.cache_clear()
    pack(tmp_path / "other", tmp_path / "train", np.array(["0"]), TASK, 8)
    assert "not square" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("dapi", "actin", "ranges", "said"),
    [
        (pixels(63), pixels(64), None, "dapi 63 in 0:255; save them brighter, or with 16 bits"),
        (pixels(0), pixels(9), None, "dapi 0 in 0:255, actin 9 in 0:255; save"),
        (pixels(64), pixels(200), None, ""),
        (
            pixels(1).astype(np.uint16) * 4095,
            pixels(64),
            (FULL, None),
            "dapi 4095 in 0:65535; state the intensity range",
        ),
        (pixels(1).astype(np.uint16) * 4095, pixels(64), ((0, 4095), None), ""),
        (pixels(1).astype(np.uint16) * 1099, pixels(64), ((100, 4096), None), ""),
        (
            pixels(1).astype(np.uint16) * 1098,
            pixels(64),
            ((100, 4096), None),
            "dapi 1098 in 100:4096; state the intensity range",
        ),
    ],
)
def test_a_set_that_is_dark_is_told(tmp_path, capsys, dapi, actin, ranges, said):
    save(tmp_path / "train", "0", dapi, actin)
    pack(tmp_path / "store", tmp_path / "train", np.array(["0"]), TASK, 8, ranges)
    err = capsys.readouterr().err
    assert err.count("\n") == bool(said)
    assert (f"{tmp_path / 'train'}: the images are dark: the brightest pixel of {said}" in err) == bool(said)


@pytest.fixture
def trained(data, tmp_path, monkeypatch):
    """A function that begins a run with options, without learning anything; returns its settings and its images."""
    import hpa.training.train  # noqa: F401, so that its functions can be replaced

    given = {}
    monkeypatch.setattr("hpa.training.train.fit", lambda folder, settings, task, model, *rows: given.update(rows=rows))
    monkeypatch.setattr("hpa.training.train.describe_best", str)
    (tmp_path / "own.toml").write_text('classes = ["a", "b"]\nchannels = ["dapi", "actin"]\nlabels = "one"\nname = "own"\n')
    table = "".join(f"{identifier},{'ab'[number % 2]}\n" for number, identifier in enumerate(ids_of(data)))
    (data / "train.csv").write_text(f"Id,Target\n{table}")

    def train(*options):
        folders = ["--task", str(tmp_path / "own.toml"), "--data", str(data), "--runs", str(tmp_path / "runs")]
        if code := train_command.main([*folders, "--name", "r", "--folds", "2", "--size", "16", *options]):
            return code
        return read_settings(tmp_path / "runs" / "r" / "base"), given["rows"][0].images[np.arange(12)]

    return train


def test_a_run_keeps_the_range_that_was_measured(data, tmp_path, trained, monkeypatch):
    settings, images = trained()
    assert settings.intensity_range == measure("train", find_files(data / "train", ids_of(data), TASK), TASK)
    files = find_files(data / "train", ids_of(data), TASK)
    assert np.array_equal(images, [read_image(each, TASK, 16, settings.intensity_range) for each in files])
    assert len(np.unique(images[..., 0])) > 100
    monkeypatch.setattr("hpa.data.intensity.range_of_training_set", lambda *arguments: 1 / 0)
    assert trained()[0] == settings
    assert resolve_stage(settings, "cnn", {"epochs": 1}, TASK).intensity_range == settings.intensity_range


def test_a_run_takes_the_range_that_is_stated(data, trained, capsys):
    settings, images = trained("--intensity-range", "0:8190,8-bit")
    assert settings.intensity_range == ((0, 8190), None)
    assert images[..., 0].max() < 140
    assert trained("--intensity-range", "0:4095,8-bit") == 2
    assert "made with other settings (intensity_range [[0, 8190], None], now [[0, 4095], None])" in capsys.readouterr().err


def test_predictions_scale_by_the_range_of_each_run(data, tmp_path, monkeypatch, capsys):
    ranges = [((0, 4095), None), ((0, 65535), None), ((0, 4095), None)]
    folders = [tmp_path / "runs" / name / "base" for name in "abc"]
    for folder, each in zip(folders, ranges, strict=True):
        write_json(
            folder / "config.json", preset_settings("cells") | {"size": 16, "task": vars(TASK), "intensity_range": each}
        )
        (folder / "model.keras").touch()
    seen = {}

    def load(folder, engine):
        def predict_on_batch(images):
            seen[folder] = images
            return np.zeros((len(images), 6), np.float32)

        return SimpleNamespace(output=np.empty((0, 6)), predict_on_batch=predict_on_batch)

    monkeypatch.setattr(predict, "load_run", load)
    save(data / "train", "00", np.full((30, 60), 4095, np.uint16), np.zeros((30, 60), np.uint8))
    files = find_files(data / "train", ids_of(data), TASK)
    assert predict.predict_files(folders, files).shape == (3, 12, 6)
    for folder, each in zip(folders, ranges, strict=True):
        assert np.array_equal(seen[folder], [read_image(sample, TASK, 16, each) for sample in files])
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].split(":")[0] for line in lines if line.startswith(str(data))] == [
        "1 of 12 images are not square and are stretched to a square",
        "the images are dark",
    ]
    save(data / "train", "05", np.zeros((60, 60), np.uint8), np.zeros((60, 60), np.uint8))
    with pytest.raises(BadInput, match=r"05_dapi.png has 8 bits, but this channel is scaled by 0:4095 of 16"):
        predict.predict_files(folders, files)
