import contextlib
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
from atlas_server import Atlas
from hypothesis import settings
from kaggle_server import Kaggle
from PIL import Image

from hpa.drawn.fields import write_dataset
from hpa.drawn.hep2 import write_cells
from hpa.tasks import HPA

# How long a test takes depends on what else the machine does.
settings.register_profile("hpa", deadline=None)
settings.load_profile("hpa")


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory):
    """A folder in the competition's layout: 60 training and 20 test fields of 128 pixels. Not to be written to."""
    folder = tmp_path_factory.mktemp("drawn") / "data"
    write_dataset(folder, train=60, test=20, size=128, seed=0)
    return folder


@pytest.fixture(scope="session")
def drawn_cells(tmp_path_factory):
    """HEp-2 cells in class folders: 60 training, 24 validation and 24 test cells of 32 pixels. Not to be written to."""
    folder = tmp_path_factory.mktemp("drawn") / "cells"
    write_cells(folder, train=60, validation=24, test=24, size=32, seed=0)
    return folder


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser():
    if not CHROMIUM:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def watched(browser):
    """A function that shows a page; whatever it says on the console, or asks another scheme for, fails the test."""
    faults = []

    def show(path, width, *schemes):
        tab = browser.new_page(viewport={"width": width, "height": 900})
        tab.set_default_timeout(60_000)
        tab.on("console", lambda message: faults.append(message.text))
        tab.on("pageerror", lambda error: faults.append(str(error)))
        tab.on("request", lambda request: request.url.startswith(schemes) or faults.append(request.url))
        tab.goto(path.as_uri())
        return tab

    yield show
    assert faults == []


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real data; skips where it is absent."""
    shared = Path(os.environ.get("HPA_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (shared / "data").is_dir():
        pytest.skip("the real data is absent; set HPA_SHARED to the folder that holds data/")
    return shared / "data"


@pytest.fixture
def write_samples():
    """A function that writes samples of random pixels to a folder and returns their ids."""

    def write(folder, count, side=24, seed=0):
        folder.mkdir(parents=True, exist_ok=True)
        random = np.random.default_rng(seed)
        ids = np.array([f"s{number:04d}" for number in range(count)])
        for identifier in ids:
            for channel in HPA.channels:
                pixels = random.integers(0, 256, (side, side), np.uint8)
                Image.fromarray(pixels).save(folder / f"{identifier}_{channel}.png", compress_level=1)
        return ids

    return write


def pytest_collection_modifyitems(items):
    """Begin with the files that take longest, or one process is left with them when the other is done."""
    items.sort(key=lambda item: item.path.name not in ("test_pipelines.py", "test_kills.py", "test_train.py"))


@pytest.fixture
def kaggle():
    with served(Kaggle()) as server:
        yield server


@pytest.fixture
def atlas(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr("hpa.data.download.FIRST_PAUSE", 0.01)
    with served(Atlas()) as server:
        yield server


@contextlib.contextmanager
def served(server):
    """Let a server answer in a thread of its own while the block runs."""
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
