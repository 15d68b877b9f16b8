"""The page as a user makes it, and as a browser shows it."""

import base64
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from hpa.data.images import in_8_bits, write_image
from hpa.data.pictures import colours
from hpa.data.store import pack
from hpa.drawn.fields import write_dataset
from hpa.files import read_json
from hpa.report import pictures
from hpa.report.pictures import Images, spread, tiles
from hpa.scoring.predictions import read_predictions
from hpa.tasks import HEP2, HPA, Task

ROOT = Path(__file__).resolve().parents[2]
CELLS = ["--size", "32", "--model", "cellnet", "--filters", "4,8", "--blocks", "1,1", "--kernel", "3", "--dropout", "0.1"]
CELLS += ["--epochs", "1", "--batch-size", "16"]


def run(name, *options):
    assert importlib.import_module(f"hpa.{name}").main([*map(str, options)]) == 0


def data_of(page):
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(text)


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """A folder with drawn fields, two runs and their blend."""
    folder = tmp_path_factory.mktemp("report")
    write_dataset(folder / "data", train=120, test=6, size=48, seed=0)
    place = ["--data", folder / "data", "--runs", folder / "runs"]
    for seed in (0, 1):
        run("train", *place, *CELLS, "--seed", seed, "--name", f"seed{seed}")
    run("predict", *place)
    run("ensemble", *place, "--weights", "optimum", "--out", folder / "entry.csv")
    return folder


@pytest.fixture(scope="module")
def page(fields):
    out = fields / "page.html"
    run("report", "--ensemble", fields / "entry.json", "--heat-maps", 4, "--out", out)
    return out


@pytest.fixture(scope="module")
def hep2(tmp_path_factory, drawn_cells):
    folder = tmp_path_factory.mktemp("hep2")
    run("train", "--task", "hep2", "--data", drawn_cells, "--runs", folder / "runs", *CELLS, "--name", "one")
    return folder / "runs" / "one" / "base"


def test_the_page_of_an_ensemble(fields, page):
    found, about = data_of(page), json.loads((fields / "entry.json").read_text())
    validation = read_predictions(fields / "runs" / "seed0" / "base" / "validation.npz")
    assert found["scores"]["macro F1"] == pytest.approx(about["validation_f1"])
    assert found["searched"] == len(validation.ids)
    assert f"found on {len(validation.ids)} of these {len(validation.ids)} rows" in page.read_text()
    assert {run["network"] for run in found["runs"]} == {"cellnet"}
    assert found["runs"][0]["score"] >= found["runs"][1]["score"]
    assert "seed" in found["runs"][0]["settings"]
    assert [member["weight"] for member in found["ensemble"]["members"]] == [each["weight"] for each in about["members"]]
    assert sorted(found["rows"]) == list(range(len(validation.ids)))
    assert len(found["tiles"]) == len(found["xy"]) == len(found["similar"]) == len(validation.ids)
    assert len(found["heat"]) == len(found["cells"]) == 4
    for run in found["runs"]:
        history = pd.read_csv(Path(run["name"]) / "history.csv")
        assert (run["seconds"], run["images_per_second"]) == (
            history["seconds"].sum(),
            history["images_per_second"].median(),
        )
    training = {each["id"] for similar in found["similar"] for each in similar}
    assert training
    assert not training & set(validation.ids.tolist())
    assert found["folds"] == []  # one fold
    assert len(found["copies"]) == len(validation.ids)


def test_single_cells_are_those_of_the_command(fields, page, tmp_path):
    found = data_of(page)
    model = Path(found["model"])
    names = [found["ids"][row] for row in found["rows"][:4]]
    files = [fields / "data" / "train" / f"{each}_green.png" for each in names]
    run(
        "cells",
        "--run",
        model,
        "--images",
        *files,
        "--out",
        tmp_path / "cells.csv",
        "--masks",
        masks_of(found, names, tmp_path),
    )
    table = pd.read_csv(tmp_path / "cells.csv")
    assert len(table) == sum(map(len, found["cells"])) > 4
    expected = [cell["probabilities"] for each in found["cells"] for cell in each]
    order = [table.query("Id == @each") for each in names]
    np.testing.assert_allclose(pd.concat(order)[list(HPA.classes)], expected, atol=0.05)  # outlines are simplified


def masks_of(found, names, folder):
    """Write label images of the outlines on the page, for `hpa cells`, and return their folder."""
    (folder / "masks").mkdir()
    for name, cells in zip(names, found["cells"], strict=True):
        labels = np.zeros((48, 48), np.uint8)
        for number, cell in enumerate(cells, start=1):
            cv2.fillPoly(labels, [np.round(np.array(cell["outline"]) * 48 - 0.5).astype(np.int32)], number)
        cv2.imwrite(str(folder / "masks" / f"{name}.png"), labels)
    return folder / "masks"


def test_a_copy_of_a_training_image_is_shown(drawn_cells, hep2, tmp_path):
    shown = tmp_path / "data" / "shown" / "Centromere"
    shown.mkdir(parents=True)
    learned = next((drawn_cells / "train" / "Centromere").iterdir())
    others = sorted((drawn_cells / "test" / "Centromere").iterdir())
    for file, name in ((learned, "copy.png"), (others[0], "one.png"), (others[0], "two.png"), (others[1], "alone.png")):
        shutil.copy(file, shown / name)
    run("report", "--run", hep2, "--data", shown.parent, "--heat-maps", 0, "--out", tmp_path / "page.html")
    found = data_of(tmp_path / "page.html")
    copies = {found["ids"][row]: own for row, own in zip(found["rows"], found["copies"], strict=True)}
    assert copies["copy"] == [{"id": learned.stem, "classes": "Centromere"}]
    assert copies["one"] == [{"id": "two", "classes": ""}]
    assert copies["alone"] == []
    assert found["cells"] == []  # a single channel, and no heat maps asked for


@pytest.mark.slow
def test_rows_know_the_fold_that_held_them_out(drawn_cells, tmp_path):
    place = ["--task", "hep2", "--data", drawn_cells, "--runs", tmp_path / "runs", *CELLS, "--name"]
    for fold in (0, 1):
        run("train", *place, f"one{'-fold1' * fold}", "--folds", 2, "--fold", fold)
    run("report", "--runs", tmp_path / "runs", "--heat-maps", 0, "--out", tmp_path / "page.html")
    found = data_of(tmp_path / "page.html")
    for fold in (0, 1):
        held_out = read_predictions(tmp_path / "runs" / f"one{'-fold1' * fold}" / "base" / "validation.npz").ids.tolist()
        assert {each for each, own in zip(found["ids"], found["folds"], strict=True) if own == fold} == set(held_out)


def test_what_takes_a_network_is_kept(fields, page, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hpa.inference.embeddings", None)
    before = data_of(page)
    run("report", "--ensemble", fields / "entry.json", "--heat-maps", 4, "--out", tmp_path / "again.html")
    assert data_of(tmp_path / "again.html") == before


def test_similar_images_are_shown_once_the_training_images_are_packed(drawn_cells, hep2, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(hep2.parents[1], runs, ignore=shutil.ignore_patterns("stores", "report.npz"))
    page = tmp_path / "page.html"
    options = ["--run", runs / "one" / "base", "--data", drawn_cells / "test", "--heat-maps", 0, "--out", page]
    for _ in range(2):  # what is kept does not hide that something is missing
        capsys.readouterr()
        run("report", *options)
        assert data_of(page)["compared"] == 0
        assert "no similar training images" in capsys.readouterr().err
    run("pack", "--task", "hep2", "--data", drawn_cells, "--runs", runs, "--size", 32)
    run("report", *options)
    found = data_of(page)
    assert found["compared"] == 60
    assert all(len(each) == 3 for each in found["similar"])


def test_images_that_were_packed_anew_are_looked_at_anew(hep2, tmp_path):
    shutil.copytree(hep2.parents[1], tmp_path / "runs", ignore=shutil.ignore_patterns("report.npz"))
    options = ["--run", tmp_path / "runs" / "one" / "base", "--heat-maps", 2, "--out", tmp_path / "page.html"]
    run("report", *options)
    before = data_of(tmp_path / "page.html")
    [store] = (tmp_path / "runs" / "stores").glob("validation-*")
    ids = read_json(store / "store.json")["ids"]
    (tmp_path / "changed").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    for identifier in ids:
        write_image(tmp_path / "changed" / f"{identifier}.png", picture)
    pack(store, tmp_path / "changed", ids, HEP2, 32)
    run("report", *options)
    after = data_of(tmp_path / "page.html")
    assert after["ids"] == before["ids"]
    assert after["heat"] != before["heat"]
    assert all(len(each) == len(ids) - 1 for each in after["copies"])  # one picture under all names


def test_files_that_changed_are_looked_at_anew(drawn_cells, hep2, tmp_path):
    shown = tmp_path / "data" / "shown" / "Centromere"
    shown.mkdir(parents=True)
    learned = next((drawn_cells / "train" / "Centromere").iterdir())
    other = next((drawn_cells / "test" / "Centromere").iterdir())
    for file, copies in ((other, []), (learned, [{"id": learned.stem, "classes": "Centromere"}])):
        shutil.copy(file, shown / "one.png")
        run("report", "--run", hep2, "--data", shown.parent, "--heat-maps", 0, "--out", tmp_path / "page.html")
        assert data_of(tmp_path / "page.html")["copies"] == [copies]


def test_the_page_of_all_runs_shows_the_best(fields, tmp_path):
    run("report", "--runs", fields / "runs", "--heat-maps", 0, "--out", tmp_path / "page.html")
    found = data_of(tmp_path / "page.html")
    assert len(found["runs"]) == 2
    assert found["name"] == found["runs"][0]["name"]
    assert found["ensemble"] is None


def test_the_page_of_other_images(drawn_cells, hep2, tmp_path):
    options = ["--run", hep2, "--heat-maps", 2, "--out", tmp_path / "page.html"]
    run("report", *options)
    found = data_of(tmp_path / "page.html")
    assert (found["exclusive"], found["searched"], len(found["ids"])) == (True, 0, 24)
    assert np.sum(found["mixUps"]) == 24
    run("report", "--data", drawn_cells / "test", *options)
    other = data_of(tmp_path / "page.html")
    run("evaluate", "--run", hep2, "--data", drawn_cells / "test", "--out", tmp_path / "evaluation")
    assert other["scores"] == json.loads((tmp_path / "evaluation" / "scores.json").read_text())["scores"]
    assert other["ids"] != found["ids"]


def test_without_packed_images_the_page_says_so(hep2, tmp_path):
    shutil.copytree(hep2.parents[1], tmp_path / "runs", ignore=shutil.ignore_patterns("stores"))
    run("report", "--run", tmp_path / "runs" / "one" / "base", "--out", tmp_path / "page.html")
    assert "no packed images; run hpa pack" in data_of(tmp_path / "page.html")["noImages"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--runs", "nothing"], "nothing: no run folders here"),
        (["--run", "runs/none/base"], "no validation.npz"),
        (["--ensemble", "absent.json"], "absent.json"),
        (["--run", "a", "--ensemble", "b"], "not allowed with argument"),
    ],
)
def test_bad_input_is_one_line(options, message, tmp_path):
    command = [sys.executable, "-m", "hpa.report", *options, "--out", "page.html"]
    done = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_no_text_ends_the_script(fields, hep2, tmp_path):
    page = tmp_path / "page.html"
    runs = tmp_path / "<script>alert(1)<"
    shutil.copytree(hep2.parents[1], runs)
    run("report", "--runs", runs, "--out", page)
    assert page.read_text().count("<script") == 2


def test_colours():
    def task(channels, own=()):
        return Task("t", ("a", "b"), channels, channels, "one", own)

    assert colours(HPA)[:3] == ["#ff0000", "#00ff00", "#0000ff"]
    assert colours(HEP2) == ["#ffffff"]
    assert colours(task(("DAPI", "actin"))) == ["#0000ff", "#00ff00"]
    assert colours(task(("DAPI", "actin"), ("#123456", "#abcdef"))) == ["#123456", "#abcdef"]
    assert len(set(colours(task(tuple("abcdef"))))) == 6


def images_of(pixels, ranges=None):
    return Images(np.arange(len(pixels)).astype(str), pixels, np.arange(len(pixels), dtype=np.uint64), ranges)


def test_tiles_are_as_large_as_the_page_allows(monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 128, 128, 4), np.uint8)
    images = images_of(pixels)
    assert tiles(images, np.arange(40))[0] == 128
    monkeypatch.setattr(pictures, "LARGEST", 400_000)
    side, encoded = tiles(images, np.arange(40))
    assert side < 128
    assert sum(map(len, encoded)) * 3 / 4 < 450_000


def test_tiles_of_smooth_images_are_small_enough_too(monkeypatch):
    """A pixel of a small tile takes more bytes than one of a large tile."""
    noise = np.random.default_rng(0).normal(128, 40, (40, 16, 16, 4)).clip(0, 255)
    pixels = np.stack([cv2.resize(each, (256, 256), interpolation=cv2.INTER_CUBIC) for each in noise]).clip(0, 255)
    images = images_of(pixels.astype(np.uint8))
    whole = sum(map(len, tiles(images, np.arange(40))[1])) * 3 / 4
    for share in (0.7, 0.5, 0.3):
        monkeypatch.setattr(pictures, "LARGEST", share * whole)
        assert sum(map(len, tiles(images, np.arange(40))[1])) * 3 / 4 < 1.03 * share * whole


@pytest.mark.parametrize("low", [0, 100, 40_000])
def test_16_bits_are_taken_as_they_were_packed(low):
    every = np.arange(2**16, dtype=np.uint16)
    for width in (*range(1, 600), 1000, 4095, 10_000, 25_535, 65_535 - low):
        interval = low, low + width
        levels = np.unique(in_8_bits(Path("a.png"), every, interval))  # fewer than 256 in a narrow range
        assert len(levels) == min(width + 1, 256)
        [array] = images_of(levels.reshape(1, -1, 1, 1), (interval,)).arrays(np.array([0]))
        np.testing.assert_array_equal(in_8_bits(Path("a.png"), array[:, 0, 0], interval), levels, str(interval))


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_a_map_of_any_number_of_images(n):
    points = spread(np.random.default_rng(0).normal(size=(n, 7)).astype(np.float32))
    assert points.shape == (n, 2)
    assert ((points >= 0) & (points <= 1)).all()


@pytest.mark.parametrize("n", [2, 5, 40])
def test_images_with_the_same_features_are_one_point(n):
    """As of a network whose features have become constant."""
    assert (spread(np.full((n, 7), 0.3, np.float32)) == 0.5).all()


@pytest.fixture
def opened(watched, page):
    """A function that shows the page."""

    def show(width=1280, path=page):
        tab = watched(path, width, "data:", "file:")
        tab.wait_for_function("document.querySelectorAll('#perrow tr').length === 3")
        return tab

    return show


def pixels(tab, selector="#gallery canvas"):
    script = "c => [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
    tab.wait_for_function(f"document.querySelector('{selector}').width > 1")
    tab.wait_for_timeout(300)
    return np.array(tab.eval_on_selector(selector, script)).reshape(-1, 4)[:, :3]


def column(tab, table, number):
    return tab.eval_on_selector_all(f"#{table} tbody tr", f"rows => rows.map(row => row.cells[{number}].dataset.v)")


def test_tables_are_sorted(opened):
    tab = opened()
    for table, number in (("perclass", 1), ("board", 4), ("board", 9), ("board", 10), ("members", 1), ("perclass", 2)):
        head = tab.locator(f"#{table} thead th").nth(number).locator("button")
        for descending in (True, False):
            head.click()
            values = [float(value) for value in column(tab, table, number) if value]
            assert values == sorted(values, reverse=descending)
    assert tab.locator("#perclass th[aria-sort]").count() == 1


def test_the_slider_moves_f1(opened, page):
    tab, found = opened(), data_of(page)
    most = int(np.argmax([row["rows"] for row in found["classes"]]))
    tab.locator(f"#perclass tr[data-class='{most}'] button").click()
    assert tab.text_content("#live") == f"{found['scores']['macro F1']:.4f}"
    line = f"#perclass tr[data-class='{most}'] td:nth-child(3)"
    assert tab.text_content(line) == f"{found['classes'][most]['f1']:.4f}"
    tab.fill("#slider", "0")  # predicted for all rows
    rows, n = found["classes"][most]["rows"], len(found["ids"])
    expected = 2 * rows / (rows + n)
    assert tab.text_content(line) == f"{expected:.4f}"
    assert f"F1 {expected:.4f}" in tab.text_content("#pr")
    assert f"F1 {expected:.4f}" in tab.text_content("#at")
    tab.focus("#slider")
    tab.keyboard.press("ArrowRight")
    assert tab.input_value("#slider") == "0.001"
    tab.click("#reset")
    assert tab.text_content("#live") == f"{found['scores']['macro F1']:.4f}"


def test_the_gallery_is_filtered(opened, page):
    tab, found = opened(), data_of(page)
    assert tab.text_content("#count") == f"{len(found['ids'])} images"
    most = int(np.argmax([row["rows"] for row in found["classes"]]))
    numbers = {}
    for what in ("right", "missed", "added"):
        tab.select_option("#byclass", str(most))
        tab.select_option("#outcome", what)
        numbers[what] = int(tab.text_content("#count").split()[0])
        assert tab.locator("#gallery .tile").count() == min(numbers[what], 48)
    row = found["classes"][most]
    assert numbers["right"] + numbers["missed"] == row["rows"]
    assert numbers["right"] / max(numbers["right"] + numbers["missed"], 1) == pytest.approx(row["recall"])
    assert numbers["right"] / max(numbers["right"] + numbers["added"], 1) == pytest.approx(row["precision"] or 0)


def test_the_gallery_is_filtered_by_score_and_copies(opened, page):
    tab, found = opened(), data_of(page)
    values = np.frombuffer(base64.b64decode(found["probabilities"]), "<f4").reshape(len(found["ids"]), -1)
    targets = np.array([[number in own for number in range(len(found["classes"]))] for own in found["targets"]])
    lowest = np.quantile(1 - np.abs(targets - values).max(axis=1), 0.5)
    tab.fill("#from", f"{lowest:.6f}")
    expected = np.count_nonzero(1 - np.abs(targets - values).max(axis=1) >= float(f"{lowest:.6f}"))
    assert tab.text_content("#count") == f"{expected} images"
    tab.fill("#from", "0")
    tab.fill("#to", "0.4")
    tab.select_option("#byclass", "25")
    shown = (values[:, 25] <= 0.4) & (targets[:, 25] | np.array(tab.evaluate("predicted.map(own => own.has(25))")))
    assert tab.text_content("#count") == f"{shown.sum()} images"
    tab.fill("#to", "1")
    tab.select_option("#byclass", "")
    tab.select_option("#outcome", "copies")
    assert tab.text_content("#count") == f"{sum(map(bool, found['copies']))} images"


def test_single_cells_are_switched_and_listed(opened, page):
    tab, found = opened(), data_of(page)
    assert tab.locator("#gallery polygon").count() == 0
    tab.check("#cells")
    assert tab.locator("#gallery polygon").count() == sum(map(len, found["cells"]))
    tab.locator("#gallery .tile").first.click()
    cells = found["cells"][0]
    assert tab.locator(".stack:has(#large) polygon").count() == tab.locator("#celltable tr").count() == len(cells)
    tab.uncheck("#largecells")
    assert tab.locator(".stack:has(#large) polygon").count() == 0
    pairs = list(zip(found["classes"], cells[0]["probabilities"], strict=True))
    above = [each for each, value in pairs if value > each["threshold"]] or [max(pairs, key=lambda pair: pair[1])[0]]
    assert all(each["class"] in tab.locator("#celltable tr").first.text_content() for each in above)


def test_channels_and_heat_maps_are_switched(opened):
    tab = opened()
    every = pixels(tab)
    for number in (0, 2, 3):
        tab.uncheck(f"#channels input[value='{number}']")
    green = pixels(tab)
    assert every[:, 0].any()
    assert green[:, 1].any()
    assert not green[:, [0, 2]].any()
    tab.check("#heat")
    heated = pixels(tab)
    assert (heated[:, 0] != heated[:, 2]).any()


def test_an_image_is_opened_from_the_gallery_the_map_and_the_labels(opened, page):
    tab, found = opened(), data_of(page)
    tab.locator("#gallery .tile").first.click()
    assert tab.text_content("#title") == found["ids"][found["rows"][0]]
    assert tab.locator("#bars tr").count() == len(found["classes"])
    assert tab.locator("#similar figure").count() == 3
    assert re.search(r"\(cosine -?\d\.\d{3}[;)]", tab.text_content("#similar figcaption"))
    tab.keyboard.press("ArrowRight")
    assert tab.text_content("#title") == found["ids"][found["rows"][1]]
    tab.keyboard.press("Escape")
    assert not tab.is_visible("#dialog")
    tab.focus("#points")
    tab.keyboard.press("ArrowRight")
    leftmost = int(np.argmin([point[0] for point in found["xy"]]))
    identifier = found["ids"][found["rows"][leftmost]]
    assert identifier in tab.text_content("#preview")
    tab.keyboard.press("Enter")
    assert tab.text_content("#title") == identifier
    tab.click("#close")
    tab.select_option("#colouring", "class")
    assert len(set(tab.eval_on_selector_all("#points circle", "all => all.map(each => each.getAttribute('fill'))"))) > 2
    if found["labels"]:
        tab.locator("#doubtful .link").first.click()
        assert tab.text_content("#title") == found["ids"][found["labels"][0]["row"]]


def test_tiles_open_their_own_images_after_one_that_the_filter_leaves_out(opened, page):
    tab, found = opened(), data_of(page)
    values = np.frombuffer(base64.b64decode(found["probabilities"]), "<f4").reshape(len(found["ids"]), -1)
    targets = np.array([[number in own for number in range(len(found["classes"]))] for own in found["targets"]])
    scores = 1 - np.abs(targets - values).max(axis=1)
    tab.fill("#from", f"{np.median(scores):.6f}")
    tab.select_option("#order", "id")
    names = tab.locator("#gallery .tile > span:first-of-type").all_text_contents()
    assert 4 <= len(names) < len(found["ids"])
    left_out = next(place for place, row in enumerate(found["rows"]) if found["ids"][row] not in names)
    tab.locator(f"#points circle[data-place='{left_out}']").dispatch_event("click")
    assert tab.text_content("#title") == found["ids"][found["rows"][left_out]]
    tab.click("#close")
    tab.locator("#gallery .tile").nth(2).click()
    assert tab.text_content("#title") == names[2]
    tab.click("#next")  # goes on in the gallery, not in all images
    assert tab.text_content("#title") == names[3]
    for _ in range(4):
        tab.click("#previous")
    assert tab.text_content("#title") == names[-1]


def test_all_is_reached_by_keyboard(opened):
    tab = opened()
    seen = set()
    for _ in range(220):
        tab.keyboard.press("Tab")
        seen.add(
            tab.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.tagName")
        )
    assert {
        "curve",
        "column",
        "slider",
        "byclass",
        "outcome",
        "from",
        "to",
        "heat",
        "cells",
        "tile",
        "points",
        "colouring",
        "link",
    } <= seen


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_cut_off_and_all_can_be_read(opened, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab = opened(width)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    for _ in range(2):  # the page, then an image
        found = axe.Axe().run(tab).response["violations"]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in found] == []
        tab.locator("#gallery .tile").first.click(timeout=5000) if not tab.is_visible("#dialog") else None


def test_the_page_of_single_labels_in_a_browser(opened, hep2, tmp_path):
    run("report", "--run", hep2, "--heat-maps", 2, "--out", tmp_path / "page.html")
    tab = opened(path=tmp_path / "page.html")
    assert tab.locator("#slider").count() == tab.locator("#live").count() == 0
    assert tab.locator("#matrix tbody tr").count() == len(HEP2.classes)
    assert pixels(tab).any()
