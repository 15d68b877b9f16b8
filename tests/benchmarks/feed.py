"""How fast the augmented feed is: against imgaug's own chain, and against PyTorch's DataLoader with AlbumentationsX.

Run `python tests/benchmarks/feed.py` in an environment that also has `tests/benchmarks/feed-requirements.txt`. All read the
same packed images and have the same policy, `report`, in batches of 32. Each is a process of its own, on one core or on all.
They work in turn, round by round, so that other load of the computer meets all alike; medians of the rounds are printed.
Processor time is that of all threads and workers, and depends less on other load.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.files import cores  # noqa: E402

BATCH = 32
ROWS = {256: 512, 512: 128}
ROUNDS = 5
OTHERS = "torch+albumentationsx"
NAMES = ("feed", "imgaug", "no augmentation", OTHERS)


def batches_of_hpa(augmentation, images):
    """Return a function of the epoch that returns its batches."""
    from hpa.data.feed import Feed, training_batches

    targets = np.zeros((len(images), 28), np.uint8)
    feed = Feed(images, targets, np.arange(len(images)), augmentation, "none", 0)
    return lambda epoch: training_batches(feed, BATCH, range(epoch, epoch + 1))


def register_chain():
    """Register imgaug's own chain, image by image, as an augmentation."""
    from hpa.data.policies import report
    from hpa.registry import AUGMENTATIONS, Augmentation

    def prepare():
        chain = report()

        def vary(image, sequence):
            chain.seed_(int(sequence.generate_state(1)[0]))
            return chain.augment_image(image)

        return vary

    AUGMENTATIONS.register("imgaug", Augmentation(prepare))


def batches_of_torch(images):
    """Return a function of the epoch that returns its batches, made by as many workers as there are cores."""
    import albumentations
    import cv2
    import torch

    torch.set_num_threads(1)
    noise = [albumentations.GaussNoise(std_range=(0, 0.0125), per_channel=each, p=1) for each in (True, False)]
    both = {"x": (-0.2, 0.2), "y": (-0.2, 0.2)}
    policy = albumentations.Compose(
        [
            albumentations.HorizontalFlip(p=0.5),
            albumentations.VerticalFlip(p=0.5),
            albumentations.Affine(
                scale={"x": (0.8, 1.2), "y": (0.8, 1.2)}, translate_percent=both, rotate=(-180, 180), keep_ratio=False,
                shear={"x": (-8, 8), "y": (-8, 8)}, border_mode=cv2.BORDER_REFLECT_101, p=1,
            ),
            albumentations.OneOf(noise, p=1),
        ]
    )  # fmt: skip

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, row):
            return torch.from_numpy(policy(image=images[row])["image"]), torch.zeros(28)

    loader = torch.utils.data.DataLoader(
        Rows(),
        BATCH,
        shuffle=True,
        num_workers=cores(),
        persistent_workers=True,
        worker_init_fn=lambda _: cv2.setNumThreads(0),
    )
    return lambda epoch: loader


def processor_time():
    """Return the seconds that this process and its workers have computed."""
    total = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def work(name, count, folder):
    """Make an epoch of batches, and print its seconds, for each line "SIZE EPOCH" of the standard input."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    if name == "imgaug":
        register_chain()
    made = {}
    for size, epoch in ([int(each) for each in line.split()] for line in sys.stdin):
        if size not in made:
            images = np.load(folder / f"{size}.npy", mmap_mode="r")
            augmentation = {"feed": "report", "imgaug": "imgaug", "no augmentation": "none"}.get(name)
            made[size] = batches_of_torch(images) if name == OTHERS else batches_of_hpa(augmentation, images)
        batches = made[size](epoch)
        wall, processor, images = time.perf_counter(), processor_time(), 0
        for batch in batches:
            images += len(batch[0])
        assert images == ROWS[size]
        print(time.perf_counter() - wall, processor_time() - processor, flush=True)


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    missing = [each for each in ("torch", "albumentations") if not find_spec(each)]
    names = [name for name in NAMES if not (missing and name == OTHERS)]
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        for size, rows in ROWS.items():
            np.save(Path(folder) / f"{size}.npy", random.integers(0, 256, (rows, size, size, 4), np.uint8))
        for count in sorted({1, cores()}):
            workers = {
                name: subprocess.Popen(
                    [sys.executable, __file__, name, str(count), folder],
                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                )
                for name in names
            }  # fmt: skip
            for size, rows in ROWS.items():
                seconds = {name: [] for name in names}
                for epoch in range(ROUNDS + 1):
                    for name in names:
                        workers[name].stdin.write(f"{size} {epoch}\n")
                        workers[name].stdin.flush()
                        measured = [float(each) for each in workers[name].stdout.readline().split()]
                        if epoch:  # the first has imports, workers that start, and files that are read from the disk
                            seconds[name].append(measured)
                print(f"{count} of {os.cpu_count()} cores, {size} px, median of {ROUNDS}, load {os.getloadavg()[0]:.1f}")
                for name, each in seconds.items():
                    wall, processor = (rows / statistics.median(values) for values in zip(*each, strict=True))
                    print(f"{name:>24}: {wall:6.0f} images/s, {processor:6.0f} per processor second")
                for other in ("imgaug", OTHERS):
                    if other in seconds:
                        pairs = zip(seconds[other], seconds["feed"], strict=True)
                        ratios = [[theirs / ours for theirs, ours in zip(*pair, strict=True)] for pair in pairs]
                        wall, processor = (statistics.median(values) for values in zip(*ratios, strict=True))
                        print(f"feed / {other}: {wall:.1f} ({processor:.1f} in processor time)", flush=True)
                        if (size, other) == (256, OTHERS):
                            last = f"feed / {OTHERS}: {wall:.1f}"
            for worker in workers.values():
                worker.communicate()
    print(f"{' and '.join(missing)} missing, see feed-requirements.txt" if missing else last)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        work(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
