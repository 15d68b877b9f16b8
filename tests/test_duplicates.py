"""`python -m hpa.duplicates`."""

import subprocess
import sys

import cv2
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from hpa.data.groups import read_groups
from hpa.duplicates import main
from hpa.tasks import HPA

TEXTURES = np.kron(np.random.default_rng(0).integers(40, 180, (24, 12, 12)), np.ones((6, 6))).astype(np.uint8)


def save(folder, **pixels):
    folder.mkdir(parents=True, exist_ok=True)
    for identifier, image in pixels.items():
        Image.fromarray(image).save(folder / f"{identifier}.png")


@pytest.fixture
def data(tmp_path):
    """Class folders with an equal pair within train, one across sets, and a near one with the unlabelled test set."""
    save(tmp_path / "train/Golgi", a=TEXTURES[0], b=TEXTURES[1], c=TEXTURES[0], d=TEXTURES[3])
    save(tmp_path / "train/NuMem", e=TEXTURES[4])
    save(tmp_path / "validation/NuMem", v=TEXTURES[4], w=TEXTURES[6])
    save(tmp_path / "test", t=TEXTURES[1] // 2, u=TEXTURES[8])
    return tmp_path


def test_copies_within_and_across_sets(data):
    out, sheet = data / "copies.csv", data / "sheet.png"
    arguments = ["--data", data, "--task", "hep2", "--out", out, "--contact-sheet", sheet]
    done = subprocess.run([sys.executable, "-m", "hpa.duplicates", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [" ".join(line.split()) for line in done.stdout.splitlines()] == [
        "looked at train (5 images), validation (2 images), test (2 images)",
        "kind sets pairs",
        "exact within train 1",
        "exact train + validation 1",
        "near train + test 1",
        "3 groups of copies, 6 images in all",
        "all copies that have labels agree in them",
        f"wrote {out}",
        f"wrote {sheet}",
    ]
    table = pd.read_csv(out)
    assert list(table.columns) == ["Id", "group", "set", "kind", "label"]
    labels = dict(zip(table["Id"], table["label"].fillna(""), strict=True))
    assert labels == {"a": "Golgi", "b": "Golgi", "c": "Golgi", "e": "NuMem", "v": "NuMem", "t": ""}
    assert {tuple(sorted(rows["Id"])): rows["kind"].tolist() for _, rows in table.groupby("group")} == {
        ("a", "c"): ["exact"] * 2,
        ("b", "t"): ["near"] * 2,
        ("e", "v"): ["exact"] * 2,
    }
    sets = {name: "".join(rows["Id"].sort_values()) for name, rows in table.groupby("set")}
    assert sets == {"train": "abce", "validation": "v", "test": "t"}
    groups = read_groups(str(out), np.array(list("abcdevw")))
    assert groups[0] == groups[2]
    assert groups[4] == groups[5]
    assert len(set(groups)) == 5
    assert np.array(Image.open(sheet)).std() > 10


def test_a_group_with_a_near_copy_stays_together_on_the_sheet(data, monkeypatch):
    save(data / "train/NuMem", e2=TEXTURES[4] // 2, e3=TEXTURES[4])
    shown = []
    monkeypatch.setattr("hpa.scoring.plots.draw_sheet", lambda images, captions: shown.extend(captions) or Figure())
    assert main(["--data", str(data), "--task", "hep2", "--contact-sheet", str(data / "sheet.png")]) == 0
    assert [caption.splitlines()[1] for caption in shown] == ["b", "t", "e", "e2", "e3", "v", "a", "c"]
    assert [caption.split()[0] for caption in shown] == ["near", "near", "exact", "near", "exact", "exact", "exact", "exact"]


def test_clashing_labels_are_listed(data, capsys):
    save(data / "train/Speckled", f=TEXTURES[6], **{f"x{n}": TEXTURES[10 + n] for n in range(12)})
    save(data / "train/Golgi", **{f"y{n}": TEXTURES[10 + n] for n in range(12)})
    assert main(["--data", str(data), "--task", "hep2", "--out", str(data / "copies.csv")]) == 0
    lines = capsys.readouterr().out.splitlines()[:-1]
    table = pd.read_csv(data / "copies.csv")
    [last] = [rows["label"].tolist() for _, rows in table.groupby("group") if "x11" in set(rows["Id"])]
    assert sorted(last) == ["Golgi", "Speckled"]  # which is not among those that are printed
    start = lines.index("13 groups in which labels clash")
    assert len(lines) == start + 11
    assert lines[start + 1].endswith(": train f Speckled, validation w NuMem")
    assert lines[start + 2].endswith(": train x0 Speckled, train y0 Golgi")


def test_a_labelled_test_set_with_a_table(data, capsys):
    (data / "test.csv").write_text("Image ID,Image class\nt,Golgi\nu,NuMem\n")
    save(data / "test", u=TEXTURES[0])
    assert main(["--data", str(data), "--task", "hep2"]) == 0
    assert "train a Golgi, train c Golgi, test u NuMem" in capsys.readouterr().out


def test_every_external_set_is_looked_at(data, capsys):
    save(data / "external/Golgi", g=TEXTURES[12])
    save(data / "external-mine/Golgi", h=TEXTURES[8])
    save(data / "external-empty")  # a download that was killed leaves no labels
    assert main(["--data", str(data), "--task", "hep2"]) == 0
    said = capsys.readouterr().out
    assert "train (5 images), external (1 images), external-mine (1 images), validation (2 images)" in said
    assert "exact external-mine + test" in " ".join(said.split())


def test_nothing_found_says_so(tmp_path, capsys):
    save(tmp_path / "train/Golgi", a=TEXTURES[0], b=TEXTURES[1])
    arguments = ["--out", str(tmp_path / "copies.csv"), "--contact-sheet", str(tmp_path / "sheet.png")]
    assert main(["--data", str(tmp_path), "--task", "hep2", *arguments]) == 0
    assert "no copies" in capsys.readouterr().out
    assert (tmp_path / "copies.csv").read_text() == "Id,group,set,kind,label\n"
    assert not (tmp_path / "sheet.png").exists()


def test_four_channels_and_many_labels(drawn_data, capsys):
    assert main(["--data", str(drawn_data)]) == 0
    assert capsys.readouterr().out == "looked at train (60 images), test (20 images)\nno copies\n"


def field(number):
    """A four-channel field and the same as a public JPEG would have it: other files, nearly the same pixels."""
    image = np.stack([np.roll(TEXTURES[number], 9 * channel, axis=0) for channel in range(4)])
    return image, np.stack([cv2.imdecode(cv2.imencode(".jpg", 0.9 * each)[1], cv2.IMREAD_GRAYSCALE) for each in image])


def save_field(folder, identifier, image):
    save(folder, **{f"{identifier}_{colour}": channel for colour, channel in zip(HPA.channels, image, strict=True)})


def test_external_images_are_compared_with_train_and_test(tmp_path, capsys):
    for number in range(6):
        save_field(tmp_path / ("train" if number < 4 else "test"), f"f{number}", field(number)[0])
    for number in (0, 1, 4, 7):
        save_field(tmp_path / "external", f"1_1_A1_{number}", field(number)[1])
    (tmp_path / "train.csv").write_text("Id,Target\nf0,1\nf1,2 3\nf2,0\nf3,0\n")
    (tmp_path / "external.csv").write_text("Id,Target\n1_1_A1_0,1\n1_1_A1_1,3\n1_1_A1_4,5\n1_1_A1_7,6\n")
    out, sheet = tmp_path / "copies.csv", tmp_path / "sheet.png"
    assert main(["--data", str(tmp_path), "--out", str(out), "--contact-sheet", str(sheet)]) == 0
    assert [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[:7]] == [
        "looked at train (4 images), external (4 images), test (2 images)",
        "kind sets pairs",
        "near train + external 2",
        "near external + test 1",
        "3 groups of copies, 6 images in all",
        "1 groups in which labels clash",
        "1: train f1 Nucleoli + Nucleoli fibrillar center, external 1_1_A1_1 Nucleoli fibrillar center",
    ]
    groups = pd.read_csv(out).groupby("group")["Id"].apply(set).tolist()
    assert sorted(map(sorted, groups)) == [["1_1_A1_0", "f0"], ["1_1_A1_1", "f1"], ["1_1_A1_4", "f4"]]
    picture = np.array(Image.open(sheet).convert("RGB"))
    assert all(np.ptp(picture[80:280, :, channel]) > 100 for channel in range(3))  # in colour, all three of them
    assert read_groups(f"antibodies,{out}", np.array(["f0", "f1", "f2", "1_1_A1_0", "1_1_A1_1"])).tolist() == [0, 0, 1, 0, 0]


def test_external_images_without_labels_yet_are_left_out(tmp_path, data, capsys):
    """So a download leaves them that was killed before its end."""
    many = tmp_path / "many"
    save_field(many / "train", "f0", field(0)[0])
    save_field(many / "external", "1_1_A1_0", field(0)[1])
    (many / "train.csv").write_text("Id,Target\nf0,1\n")
    assert main(["--data", str(many)]) == 0
    assert capsys.readouterr().out == "looked at train (1 images)\nno copies\n"
    save(data / "external/Golgi", z=TEXTURES[9])  # these have their labels
    assert main(["--data", str(data), "--task", "hep2"]) == 0
    assert "train (5 images), external (1 images), validation (2 images)" in capsys.readouterr().out
    (data / "external/Golgi").rename(many / "Golgi")
    assert main(["--data", str(data), "--task", "hep2"]) == 0
    assert "train (5 images), validation (2 images)" in capsys.readouterr().out


def test_class_folders_of_a_task_that_was_not_asked_for(data, capsys):
    assert main(["--data", str(data)]) == 2
    assert "train.csv: no such table; the class folders in" in (error := capsys.readouterr().err)
    assert error.endswith("are those of the task hep2\n")


def test_bad_input_writes_nothing(data, capsys):
    (data / "train/Golgi/b.png").write_bytes(b"")
    assert main(["--data", str(data), "--task", "hep2", "--out", str(data / "copies.csv")]) == 2
    error = capsys.readouterr().err
    assert "b.png is truncated" in error
    assert "Traceback" not in error
    assert main(["--data", str(data / "nowhere"), "--task", "hep2"]) == 2
    assert not (data / "copies.csv").exists()


def test_a_large_group_is_counted_honestly(tmp_path, capsys):
    many = {
        f"m{number:02d}": np.clip(TEXTURES[0].astype(int) + number - 20, 0, 255).astype(np.uint8) for number in range(41)
    }
    save(tmp_path / "train/Golgi", **many, z=TEXTURES[1])
    save(tmp_path / "train/NuMem", n=TEXTURES[0] + 25)
    assert main(["--data", str(tmp_path), "--task", "hep2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "at least: 1 groups have more than 30 images, of which not every two were compared" in lines
    assert "1 groups of copies, 42 images in all" in lines
    assert len(lines[-1]) < 1100
    save(tmp_path / "few/train/Golgi", **dict(list(many.items())[:30]))
    assert main(["--data", str(tmp_path / "few"), "--task", "hep2"]) == 0
    out = capsys.readouterr().out
    assert "near within train 435" in " ".join(out.split())
    assert "at least" not in out
