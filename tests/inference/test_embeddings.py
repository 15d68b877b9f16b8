import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from test_predict import make_run

from hpa import embed as command
from hpa.data.images import read_image, write_image
from hpa.data.layout import find_files, list_ids
from hpa.data.tables import read_labelled
from hpa.errors import BadInput
from hpa.files import file_digest
from hpa.inference.embeddings import Embedding, embed, nearest, neighbour_table, read_features, write_embedding
from hpa.tasks import HPA
from hpa.tta import TTA, VIEWS, view

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embed") / "runs" / "2" / "base"
    make_run(folder, 2)
    return folder


def expected_features(folder, files):
    network = keras.saving.load_model(folder / "model.keras", compile=False)
    extractor = keras.Model(network.input, network.get_layer("dense_part_features").output)
    return extractor.predict(np.stack([read_image(each, HPA, 48) for each in files]), verbose=0)


def test_the_command_writes_the_features_of_a_labelled_set_and_neighbours(drawn_data, run_folder, tmp_path):
    arguments = ["--run", run_folder, "--data", drawn_data / "train", "--out", tmp_path / "f.npz", "--neighbours", "3"]
    done = subprocess.run(
        [sys.executable, "-m", "hpa.embed", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"{tmp_path / 'f.npz'}: 224 features of 60 images"
    table = read_labelled(drawn_data / "train", HPA)
    with np.load(tmp_path / "f.npz") as found:
        assert found["ids"].tolist() == table.ids.tolist()
        np.testing.assert_array_equal(found["targets"], table.targets)
        assert tuple(found["classes"]) == HPA.classes
        assert str(found["model_sha256"]) == file_digest(run_folder / "model.keras")
        expected = expected_features(run_folder, find_files(drawn_data / "train", table.ids, HPA))
        np.testing.assert_allclose(found["features"], expected, atol=1e-5)
    neighbours = pd.read_csv(tmp_path / "f-neighbours.csv")
    assert len(neighbours) == 180
    assert not (neighbours["Id"] == neighbours["neighbour"]).any()
    assert neighbours["rank"].tolist() == [1, 2, 3] * 60


def test_single_files_stand_for_their_samples_and_a_reference_is_searched(drawn_data, run_folder, tmp_path):
    ids = list_ids(drawn_data / "test", HPA)
    base = ["--run", str(run_folder), "--out"]
    assert command.main([*base, str(tmp_path / "all.npz"), "--images", str(drawn_data / "test")]) == 0
    files = [str(drawn_data / "test" / f"{ids[row]}_green.png") for row in (4, 2)]
    options = ["--images", *files, "--reference", str(tmp_path / "all.npz"), "--neighbours", "2"]
    assert command.main([*base, str(tmp_path / "two.npz"), *options]) == 0
    with np.load(tmp_path / "two.npz") as two, np.load(tmp_path / "all.npz") as every:
        assert two["ids"].tolist() == [ids[4], ids[2]]
        assert "targets" not in two
        np.testing.assert_allclose(two["features"], every["features"][[4, 2]], atol=1e-5)
    found = pd.read_csv(tmp_path / "two-neighbours.csv")
    assert found["neighbour"].tolist()[::2] == [ids[4], ids[2]]  # each finds itself among the others
    assert found["cosine"].tolist()[::2] == [1, 1]


def test_how_likely_an_image_is_of_a_known_class(run_folder, tmp_path, capsys):
    random = np.random.default_rng(0)
    learned, usual = random.normal(3, 1, (40, 224)), random.normal(3, 1, (9, 224))
    for name, features in (("learned", learned), ("usual", usual)):
        np.savez(tmp_path / f"{name}.npz", ids=np.arange(len(features)).astype(str), features=features)
    (tmp_path / "groups.csv").write_text("Id,group\n" + "".join(f"{row},{row // 3}\n" for row in range(9)))
    for row in range(2):
        image = random.integers(0, 256, (4, 40, 40), np.uint8) // 4 ** (3 * row)
        for suffix, channel in zip(HPA.suffixes, image, strict=True):
            write_image(tmp_path / "images" / f"{row}{suffix}.png", channel)
    base = ["--run", str(run_folder), "--images", str(tmp_path / "images"), "--out", str(tmp_path / "f.npz")]
    options = ["--reference", str(tmp_path / "learned.npz"), "--known", str(tmp_path / "usual.npz")]
    for more, weights in (([], np.full(9, 1 / 10)), (["--groups", str(tmp_path / "groups.csv")], np.full(9, 1 / 4 / 3))):
        assert command.main([*base, *options, *more]) == 0
        assert "images have a p-value of 0.05 or less" in capsys.readouterr().out
        with np.load(tmp_path / "f.npz") as file:
            own = file["features"]
        own, known, reference = ((each - learned.mean(axis=0)) / learned.std(axis=0) for each in (own, usual, learned))
        nearest_own, nearest_usual = ((1 - cdist(each, reference, "cosine")).max(axis=1) for each in (own, known))
        found = pd.read_csv(tmp_path / "f-known.csv", dtype={"Id": str})
        assert found["Id"].tolist() == ["0", "1"]
        np.testing.assert_allclose(found["cosine"], nearest_own, atol=1e-4)
        new = 1 - weights.sum()
        expected = [min(new + weights[nearest_usual <= cosine].sum(), 1) for cosine in nearest_own]
        np.testing.assert_allclose(found["p"], expected, atol=1e-4)


def test_known_images_that_the_network_has_learned_from_are_told(run_folder, tmp_path, capsys):
    shutil.copytree(run_folder, tmp_path / "run")
    (tmp_path / "run" / "split.csv").write_text("Id,fold\n0,1\n1,1\n2,0\nx,1\n")
    known = tmp_path / "known.npz"
    np.savez(known, ids=np.arange(9).astype(str), features=np.random.default_rng(0).normal(size=(9, 224)))
    for suffix in HPA.suffixes:
        write_image(tmp_path / "images" / f"cell{suffix}.png", np.zeros((48, 48), np.uint8))
    options = ["--images", str(tmp_path / "images"), "--out", str(tmp_path / "f.npz"), "--reference", str(known)]
    assert command.main(["--run", str(tmp_path / "run"), *options, "--known", str(known)]) == 0
    told = f"{known}: {tmp_path / 'run'} has learned from 2 of these, so p-values are too low\n"
    assert told in capsys.readouterr().err


def test_neighbours_are_those_of_all_distances():
    random = np.random.default_rng(0)
    features, reference = random.normal(size=(5, 7)) * 9 + 4, random.normal(size=(30, 7)) * 9 + 4
    mean, deviation = reference.mean(axis=0), reference.std(axis=0)
    for left, same in ((features, False), (reference, True)):
        cosines = 1 - cdist((left - mean) / deviation, (reference - mean) / deviation, "cosine")
        if same:
            np.fill_diagonal(cosines, -2)
        rows, found = nearest(left, reference, 4, same)
        np.testing.assert_array_equal(rows, np.argsort(-cosines, axis=1)[:, :4])
        np.testing.assert_allclose(found, np.sort(cosines, axis=1)[:, ::-1][:, :4])
    assert nearest(reference, reference, 99, same=True)[0].shape == (30, 29)
    table = neighbour_table(np.array(["a"]), np.array(["x", "y"]), np.array([[1, 0]]), np.array([[0.9, 0.1]]))
    assert table.to_numpy().tolist() == [["a", 1, "y", 0.9], ["a", 2, "x", 0.1]]


EXAMPLE = Embedding(
    np.array(["7", "b"]),
    np.array([[1, 2, 3], [4, 5, 6]], np.float32),
    ("Golgi", "Rods & rings / x"),
    np.array([[1, 0], [1, 1]], np.uint8),
    "ab12",
)


def test_h5ad_is_what_anndata_reads(tmp_path):
    anndata = pytest.importorskip("anndata")
    write_embedding(tmp_path / "f.h5ad", EXAMPLE)
    found = anndata.read_h5ad(tmp_path / "f.h5ad")
    np.testing.assert_array_equal(found.X, EXAMPLE.features)
    assert found.obs_names.tolist() == ["7", "b"]
    assert found.var_names.tolist() == ["feature_0", "feature_1", "feature_2"]
    assert found.obs["Golgi"].tolist() == [1, 1]
    assert found.obs.iloc[:, 1].tolist() == [0, 1]
    assert found.uns["classes"].tolist() == list(EXAMPLE.classes)
    assert found.uns["model_sha256"] == "ab12"


def test_h5ad_has_the_parts_of_the_format(tmp_path):
    h5py = pytest.importorskip("h5py")
    write_embedding(tmp_path / "f.h5ad", EXAMPLE)
    with h5py.File(tmp_path / "f.h5ad") as file:
        assert file.attrs["encoding-type"] == "anndata"
        np.testing.assert_array_equal(file["X"], EXAMPLE.features)
        assert file["obs"].attrs["column-order"].tolist() == ["Golgi", "Rods & rings | x"]
        assert file["obs"]["_index"].asstr()[:].tolist() == ["7", "b"]


def test_parquet_is_what_pandas_reads(tmp_path):
    pytest.importorskip("pyarrow")
    write_embedding(tmp_path / "f.parquet", EXAMPLE)
    found = pd.read_parquet(tmp_path / "f.parquet")
    assert found.columns.tolist() == ["Id", "feature_0", "feature_1", "feature_2", "Target"]
    assert found["Target"].tolist() == ["0", "0 1"]
    np.testing.assert_array_equal(found[["feature_0", "feature_1", "feature_2"]], EXAMPLE.features)


def test_features_of_others_are_read_by_id(tmp_path):
    (tmp_path / "f.csv").write_text("Id,a,b\n07,1,2.5\nx,3,4\n")
    ids, features = read_features(tmp_path / "f.csv")
    assert (ids.tolist(), features.tolist()) == (["07", "x"], [[1, 2.5], [3, 4]])
    write_embedding(tmp_path / "f.npz", EXAMPLE)
    ids, features = read_features(tmp_path / "f.npz")
    assert ids.tolist() == ["7", "b"]
    np.testing.assert_array_equal(features, EXAMPLE.features)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("Id,a\n1,2\n1,3\n", "id 1 is there 2 times"),
        ("Id,a\n1,2\n2,\n", "id 2: a feature is no finite number"),
        ("Id,a\n1,b\n", "not features by id"),
        ("name,a\n1,2\n", "not features by id"),
        ("Id\n1\n", "not features by id"),
    ],
)
def test_faulty_features_are_refused(tmp_path, text, fault):
    (tmp_path / "f.csv").write_text(text)
    with pytest.raises(BadInput, match=fault):
        read_features(tmp_path / "f.csv")


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--out", "f.txt", "--images", "cells"], "--out f.txt: expected a name that ends in .npz, .parquet, .h5ad"),
        (
            ["--out", "f.npz", "--images", "absent", "a.png"],
            "--images: 2 faults\n  absent is absent\n  a.png is not named",
        ),
        (["--out", "f.npz", "--images", "cells", "--reference", "g.npz"], "--reference is where --neighbours looks"),
        (["--out", "f.npz", "--images", "cells", "--known", "g.npz"], "--known needs a --reference"),
        (["--out", "f.npz", "--images", "cells", "--groups", "g.csv"], "--groups is for --known"),
        (["--out", "cells/f.npz", "--images", "cells"], "lies in cells, which this command reads"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run_folder, tmp_path, monkeypatch, capsys, options, fault):
    monkeypatch.chdir(tmp_path)
    Path("cells").mkdir()
    Path("a.png").touch()
    assert command.main(["--run", str(run_folder), *options]) == 2
    assert fault in capsys.readouterr().err
    assert not list(tmp_path.rglob("f.*"))


@pytest.mark.parametrize("option", ["--reference", "--known"])
def test_features_of_another_network_are_refused_before_an_image_is_read(run_folder, tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    for name, width in (("right", 224), ("wrong", 3)):
        np.savez(f"{name}.npz", ids=np.array(["a", "b"]), features=np.ones((2, width)))
    for suffix in HPA.suffixes:
        Path(f"cell{suffix}.png").write_bytes(b"no image")
    files = {"--reference": "right.npz", "--known": "right.npz", option: "wrong.npz"}
    options = [word for pair in files.items() for word in pair]
    assert command.main(["--run", str(run_folder), "--images", "cell_red.png", "--out", "f.npz", *options]) == 2
    assert f"wrong.npz: has 3 features, the network of {run_folder} 224; name those of this run" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--reference", "--known"])
def test_features_that_a_network_of_the_same_width_made_are_refused(run_folder, tmp_path, monkeypatch, capsys, option):
    monkeypatch.chdir(tmp_path)
    ids, features = np.array(["a", "b"]), np.eye(2, 224, dtype=np.float32)
    for name, model in (("own", file_digest(run_folder / "model.keras")), ("other", "ab12")):
        write_embedding(Path(f"{name}.npz"), Embedding(ids, features, (), None, model))
    for suffix in HPA.suffixes:
        write_image(tmp_path / f"cell{suffix}.png", np.zeros((48, 48), np.uint8))

    def embed_with(files):
        words = [word for pair in files.items() for word in pair]
        return command.main(["--run", str(run_folder), "--images", "cell_red.png", "--out", "f.npz", *words])

    own = {"--reference": "own.npz", "--known": "own.npz"}
    assert embed_with(own | {option: "other.npz"}) == 2
    fault = f"other.npz: holds features of another network than {run_folder / 'model.keras'}; write it again with hpa embed"
    assert fault in capsys.readouterr().err
    assert not Path("f.npz").exists()
    assert embed_with(own) == 0


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_features_are_the_plain_mean_over_views(run_folder, average):
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 4), np.uint8)
    image[:24] //= 16  # so that views differ
    views = [np.ascontiguousarray(view(image[None], *each)[0]) for each in VIEWS[4]]
    found = embed(run_folder, [image], tta=TTA(4, average)).features
    each = embed(run_folder, views).features
    assert np.ptp(each, axis=0).max() > 0.01
    np.testing.assert_allclose(found[0], each.mean(axis=0), rtol=1e-3, atol=1e-5)


def test_the_command_has_no_other_average_of_features(capsys):
    with pytest.raises(SystemExit):
        command.main(["--run", "r", "--images", "i", "--out", "f.npz", "--tta", "4", "--tta-average", "logits"])
    assert "unrecognized arguments: --tta-average logits" in capsys.readouterr().err


def test_the_command_averages_over_views(drawn_data, run_folder, tmp_path):
    [files] = find_files(drawn_data / "test", list_ids(drawn_data / "test", HPA)[:1], HPA)
    arguments = ["--run", str(run_folder), "--images", str(files[0]), "--tta", "4", "--out", str(tmp_path / "f.npz")]
    assert command.main(arguments) == 0
    with np.load(tmp_path / "f.npz") as found:
        np.testing.assert_allclose(found["features"], embed(run_folder, [files], tta=TTA(4)).features, rtol=1e-5)


def test_one_image_alone_has_no_neighbours(run_folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for suffix in HPA.suffixes:
        write_image(tmp_path / f"cell{suffix}.png", np.zeros((48, 48), np.uint8))
    options = ["--images", "cell_red.png", "--out", "f.npz", "--neighbours", "1"]
    assert command.main(["--run", str(run_folder), *options]) == 2
    assert "--neighbours: there is one image, which has none" in capsys.readouterr().err
    assert not Path("f.npz").exists()
