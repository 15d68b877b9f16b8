"""The documentation says what is true: its commands and examples run, its picture shows the imports, its notebooks work."""

import doctest
import importlib
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import test_rooms
import tifffile
from PIL import Image

from hpa import registry
from hpa.__main__ import COMMANDS
from hpa.drawn.fields import write_dataset
from hpa.tasks import HPA, read_task

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "docs" / "pages"
TEXTS = [ROOT / "README.md", *sorted(PAGES.rglob("*.md"))]
sys.path.insert(0, str(ROOT / "docs"))

import architecture  # noqa: E402
import hooks  # noqa: E402
import notebooks  # noqa: E402


def blocks(path: Path, language: str) -> list[str]:
    """Return the blocks of code of a page in one language."""
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def command_lines(path: Path) -> list[list[str]]:
    """Return the commands of a page, those in indented blocks too, as words without what sets variables."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in blocks(path, "bash") for line in block.splitlines()]
    lines += re.findall(r"^    ((?:hpa|bash|python -m hpa\.) ?.*)$", text, re.MULTILINE)
    words = [shlex.split(line) for line in lines]
    return [[word for number, word in enumerate(line) if number or "=" not in word] for line in words]


ALL = [(path, line) for path in TEXTS for line in command_lines(path)]


@pytest.mark.parametrize(("path", "line"), ALL, ids=[f"{path.stem}: {' '.join(line)}"[:60] for path, line in ALL])
def test_every_command_has_these_options(path, line):
    line = [word for word in line if "=" not in word or word.startswith("-")]
    if line[0] == "bash":
        assert (ROOT / line[1]).is_file()
        scripts = (ROOT / "tests" / "test_pipelines.py").read_text(encoding="utf-8") + (ROOT / ".ci" / "run").read_text()
        assert line[1].removeprefix("pipelines/") in scripts  # a test or CI runs it
    else:
        assert line[0] == "hpa"
        assert line[1] in COMMANDS
        hooks.command_parser(line[1]).parse_args(["hpa" if word.endswith(".toml") else word for word in line[2:]])


# What makes a command small enough for a test; the last value of an option counts.
SMALL = {"train": ["--epochs", "1", "--rows", "24", "--batch-size", "8"], "finetune": ["--epochs", "1", "--batch-size", "8"]}
DRAWN = {
    "hpa": ["--train", "48", "--test", "6"],
    "hep2": ["--train", "150", "--validation", "24", "--test", "12", "--size", "32"],
}
CELLS = ["--size", "32", "--filters", "4,8", "--blocks", "1,1"]
OTHER_NUMBERS = {"0.34": "0", "0.1": "0"}  # those that are for good networks and much data
# Their own tests run these, and what uploads, takes 16-bit images, others' features, large networks or several devices.
ELSEWHERE = {"demo", "download", "sort"}
ELSEWHERE_WITH = {
    "--message", "--intensity-range", "--address", "--shard", "--features", "members/others", "densenet121", "--devices",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in TEXTS if command_lines(path)], ids=lambda path: path.stem)
def test_the_commands_of_a_page_run_in_their_order(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if not any(line[1:4] == ["draw", "--out", "data"] for line in command_lines(path)):
        write_dataset(tmp_path / "data", train=48, test=6, size=80, seed=0)
    if path.stem == "own_images":
        write_task(tmp_path)
    if path.stem == "data":
        write_external(tmp_path)
    if path.stem == "prediction":
        run("train", "--size", "80")
        for stage in ("cnn", "dnn", "dnn2"):
            run("finetune", "--stage", stage)
    for line in command_lines(path):
        if line[0] == "hpa" and line[1] not in ELSEWHERE and not ELSEWHERE_WITH & set(line):
            run(*line[1:])


def run(name: str, *options: str) -> None:
    """Run a command in small."""
    small = SMALL.get(name, [])
    if name == "draw":
        small = DRAWN["hep2" if "hep2" in options else "hpa"]
    elif name == "train" and {"hep2", "yeast.toml", "plates.toml"} & set(options):
        small = ["--epochs", "1", "--batch-size", "16", *([] if "transfer" in options else CELLS)]
    arguments = [OTHER_NUMBERS.get(each, each) for each in options]
    assert importlib.import_module(f"hpa.{name}").main([*arguments, *small]) == 0, shlex.join([name, *arguments])


def write_external(folder: Path) -> None:
    """Write external images with the Atlas' ids, one antibody each."""
    write_dataset(folder / "more", train=4, test=1, size=80, seed=1)
    table = pd.read_csv(folder / "more" / "train.csv")
    (folder / "data" / "external").mkdir()
    names = [f"{number}_1_A1_1" for number in range(len(table))]
    for old, new in zip(table["Id"], names, strict=True):
        for suffix in HPA.suffixes:
            shutil.move(
                folder / "more" / "train" / f"{old}{suffix}.png", folder / "data" / "external" / f"{new}{suffix}.png"
            )
    table.assign(Id=names).to_csv(folder / "data" / "external.csv", index=False)


def write_task(folder: Path) -> None:
    """Write the task of the page on own images, and images for it."""
    texts = blocks(PAGES / "own_images.md", "toml")
    for text in texts:
        (folder / text.split()[1]).write_text(text, encoding="utf-8")
    task = read_task(folder / "yeast.toml")
    random = np.random.default_rng(0)
    for part in ("train", "validation"):
        for number in range(24):
            for suffix in task.suffixes:
                file = folder / "data" / "yeast" / part / task.classes[number % 3] / f"{part}{number}{suffix}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 256, (20, 30), np.uint8)).save(file)
    for number in range(24):  # stacks of 12 bits, without a validation set
        file = folder / "data" / "plates" / "train" / task.classes[number % 3] / f"P1_A{number}_s2.ome.tif"
        file.parent.mkdir(parents=True, exist_ok=True)
        stack = random.integers(0, 4096, (2, 3, 20, 30), np.uint16)
        tifffile.imwrite(file, stack, ome=True, metadata={"axes": "CZYX"}, photometric="minisblack")


def test_the_picture_shows_the_imports():
    found = architecture.rooms()
    assert {name for name in found if (test_rooms.PACKAGE / name).is_dir()} == test_rooms.RANKS.keys()
    picture = architecture.draw()
    for name, room in found.items():
        assert f">{name}" in picture
        assert all(module in picture for module in room.modules)
    graph = {name: room.imports for name, room in found.items()}
    for module, imported in test_rooms.IMPORTS.items():
        start = module.split(".")[1:2]
        for other in imported:
            end = other.split(".")[1:2]
            if start != end and start[0:1] and end[0:1] and {*start, *end} <= graph.keys():
                assert end[0] in graph[start[0]], f"{module} imports {other}"
    shown = architecture.arrows(graph)
    for start, ends in graph.items():  # what no arrow says, a way of arrows does
        drawn = {name: {end for begin, end in shown if begin == name} for name in graph}
        assert ends <= architecture.reachable(drawn, start)


@pytest.mark.parametrize("module", [architecture, hooks])
def test_the_examples_of_the_sites_own_code(module):
    assert doctest.testmod(module).failed == 0


def test_the_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 8192


def test_the_examples_of_how_to_extend():
    tables = (registry.NETWORKS, registry.LOSSES, registry.AUGMENTATIONS)
    before = [dict.fromkeys(table) for table in tables]
    names: dict[str, object] = {}
    try:
        for block in blocks(PAGES / "extending.md", "python"):
            exec(block, names)
        network = registry.NETWORKS["toy"].build(size=16, channels=4, classes=28, output="sigmoid", dropout=0.1)
        assert network.output_shape == (None, 28)
        loss = registry.LOSSES["squared-error"].function(np.ones((2, 3), "float32"), np.zeros((2, 3), "float32"), None)
        assert float(loss) == 1
        image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        varied = registry.AUGMENTATIONS["quarter-turns"].prepare()(image, np.random.SeedSequence(1))
        assert sorted(varied.ravel()) == sorted(image.ravel())
    finally:
        for table, known in zip(tables, before, strict=True):
            for name in [name for name in table if name not in known]:
                del table.data[name]


def test_each_dependency_is_explained():
    page = (PAGES / "contributing.md").read_text(encoding="utf-8")
    for file in ("requirements.txt", "tests/requirements.txt"):
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            if line and line[0].isalpha():
                name = re.split(r"[\[<>=]", line)[0]
                assert re.search(rf"^\|.*\b{name}\b.*\|.*\|$", page, re.MULTILINE), name


SMALL_NOTEBOOKS: dict[str, dict[str, object]] = {
    "competition": {"TRAIN": 40, "TEST": 6, "EPOCHS": 1},
    "own_images": {"TRAIN": 24, "VALIDATION": 12, "EPOCHS": 1},
}


@pytest.mark.slow
@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    notebooks.execute(path, tmp_path, SMALL_NOTEBOOKS[path.stem])


@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_with_its_outputs(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")


# That of the README runs in tests/test_wheel.py.
EXAMPLES = [path for path in TEXTS[1:] if "import hpa\n" in path.read_text(encoding="utf-8")]


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_python_examples_of_a_page_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if path.stem == "own_images":
        write_task(tmp_path)
    else:
        write_dataset(tmp_path / "data", train=48, test=6, size=80, seed=0)
    for block in blocks(path, "python"):
        small = block.replace("epochs=10", "epochs=1, batch_size=8").replace(
            'name="first"', 'name="first", size=32, epochs=1'
        )
        exec(small, {})
    if path.stem != "own_images":
        assert len((tmp_path / "submissions" / "entry.csv").read_text().splitlines()) == 7
