"""How fast images are packed at 256 px, against only decoding the same PNGs and against one sample at a time with PIL.

Run `python tests/benchmarks/packing.py`. It takes the competition's own PNGs from the shared data where they are present
and drawn cells of 512 px elsewhere, and lists each file many times over, so that all of them come from the page cache.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.data.store import pack  # noqa: E402
from hpa.drawn.fields import write_dataset  # noqa: E402
from hpa.files import cores  # noqa: E402
from hpa.tasks import HPA  # noqa: E402

SIZE = 256
SAMPLES = 400
SINGLE = 100  # samples for the slow way
REPEATS = 5
CORES = cores()


def link_samples(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Link SAMPLES samples to the files there are, four in turn a sample; return the linked files and the ids."""
    shared = Path(os.environ.get("HPA_SHARED", ROOT.parent / "shared")) / "data" / "kaggle_png"
    if shared.is_dir():
        print(f"the competition's PNGs, {SAMPLES} samples of 4 files")
    else:
        print(f"drawn cells, {SAMPLES} samples of 4 files")
        write_dataset(folder / "drawn", train=50, test=1)
        shared = folder / "drawn" / "train"
    files = sorted(shared.glob("*.png"))
    ids = np.array([f"{number:04d}" for number in range(SAMPLES)])
    source = folder / "source"
    source.mkdir()
    links = [source / f"{identifier}_{channel}.png" for identifier in ids for channel in HPA.channels]
    for number, link in enumerate(links):
        link.symlink_to(files[number % len(files)])
    return links, ids


def decode_only(encoded: list[np.ndarray]) -> None:
    """Decode on all cores and throw the pixels away."""
    with ThreadPoolExecutor(CORES) as pool:
        for _ in pool.map(lambda each: cv2.imdecode(each, cv2.IMREAD_UNCHANGED).size, encoded):
            pass


def one_at_a_time(links: list[Path]) -> None:
    """PIL, stack, resize, divide: a sample after the other."""
    for first in range(0, len(links), 4):
        image = np.stack([np.array(Image.open(file)) for file in links[first : first + 4]], axis=-1)
        _ = cv2.resize(image, (SIZE, SIZE)) / 255


def rate(samples: int, work: Callable, *arguments: object) -> float:
    """Return samples a second."""
    start = time.perf_counter()
    work(*arguments)
    return samples / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        links, ids = link_samples(folder)
        distinct = {file: np.fromfile(file, np.uint8) for file in {os.path.realpath(link) for link in links}}
        encoded = [distinct[os.path.realpath(link)] for link in links]
        decoding, packing, single = [], [], []
        for repeat in range(REPEATS):
            decoding.append(rate(SAMPLES, decode_only, encoded))
            packing.append(rate(SAMPLES, pack, folder / f"store-{repeat}", folder / "source", ids, HPA, SIZE))
            single.append(rate(SINGLE, one_at_a_time, links[: 4 * SINGLE]))
        ratio = statistics.median(p / d for p, d in zip(packing, decoding, strict=True))
        faster = statistics.median(p / s for p, s in zip(packing, single, strict=True))
        print(f"{CORES} cores, median of {REPEATS}, load {os.getloadavg()[0]:.1f}")
        for label, rates in (("packing", packing), ("decoding only", decoding), ("PIL, one at a time", single)):
            print(f"{label:>18}: {statistics.median(rates):6.1f} samples/s ({min(rates):.1f} to {max(rates):.1f})")
        print(f"packing / decoding only: {ratio:.2f} (to be 0.8 or more); packing / one at a time: {faster:.1f}")


if __name__ == "__main__":
    main()
