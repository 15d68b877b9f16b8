"""How fast one GPU trains and predicts with GapNet variant 0: hpa against PyTorch, and forty epochs by the clock.

    KERAS_BACKEND=jax python tests/benchmarks/gpu.py [--full]

It needs PyTorch in addition to hpa and its backend. Each contender is a process of its own; they work in turn on the same
random pixels, round by round, and medians of the rounds are printed. Ratios are medians of the rounds' ratios.

- `hpa, device` and `hpa, host`: the whole loop, with the feed and the augmentation `report` there.
- `hpa, step`: steps alone, on a batch that is on the device, without augmentation. What a whole loop takes longer is the
  share of time that feed and augmentation hold the training up.
- `torch`: PyTorch's best case: steps alone as well, channels last, autocast to the same precision; as it is and compiled.
- `predict`: batches of the host's pixels to probabilities on the host, for hpa and PyTorch.

`--full` then trains forty epochs of the competition's size, 24,858 images and 6,214 for validation, on images that repeat.
Other options make it small: on a CPU, `--rows 64 --size 96 --batch-size 16 --rounds 2`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

CLASSES = 28
TRAINING = ("hpa, device", "hpa, host", "hpa, step", "torch", "torch, compiled")
PREDICTION = ("hpa, predict", "torch, predict", "torch, compiled, predict")
COMPETITION = 24_858, 6_214


def pixels(options):
    """Return random images and targets."""
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (options.rows, options.size, options.size, 4), np.uint8)
    return images, (random.random((options.rows, CLASSES)) < 0.1).astype(np.uint8)


def settings_of(options, **changes):
    """Return the settings of the preset `report`, in the fastest precision."""
    from hpa.hardware import fastest_precision
    from hpa.settings import Settings

    made = {"variant": 0, "size": options.size, "batch_size": options.batch_size, "precision": fastest_precision()}
    return Settings(**made | changes)


def new_network(options, settings):
    """Return the uncompiled network."""
    from hpa.models.catalog import build

    return build("gapnet", options.size, 4, CLASSES, "sigmoid", variant=0, activation="relu")


def rounds_of_hpa(name, options):
    """Return a function that does a round and returns how many images it has gone through."""
    from hpa.backend import quiet_import

    with quiet_import():
        import keras

    from hpa.data.feed import Feed, batch_shape, training_batches
    from hpa.hardware import announce
    from hpa.tasks import HPA
    from hpa.training.fit import compile_model, computing_in, steps_at_once
    from hpa.training.on_device import OnDevice
    from hpa.training.optimizers import new_optimizer

    images, targets = pixels(options)
    settings = settings_of(options)
    announce(settings.precision)
    with computing_in(settings.precision):
        model = new_network(options, settings)
    steps, size = batch_shape(options.rows, options.batch_size)
    compile_model(model, settings, HPA, new_optimizer(settings, steps), None, steps_at_once(steps, size * options.size**2))
    if "predict" in name:

        def predict():
            for start in range(0, options.rows - size + 1, size):
                model.predict_on_batch(images[start : start + size])
            return options.rows // size * size

        return predict
    feed = Feed(images, targets, np.arange(options.rows), "report", "none", 0, on_device="device" in name)
    learning = OnDevice(model, feed) if feed.on_device else model
    if feed.on_device:
        compile_model(learning, settings, HPA, model.optimizer, None, model.steps_per_execution)
    ready = tuple(keras.ops.convert_to_tensor(part) for part in (images[:size], targets[:size].astype(np.float32)))
    done = 0

    def learn():
        nonlocal done
        if "step" in name:
            batches = (ready for _ in range(steps))
        else:
            batches = training_batches(feed, options.batch_size, range(done, done + 1))
        learning.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
        done += 1
        return steps * size

    return learn


def rounds_of_torch(name, options):
    """Do as `rounds_of_hpa`, with PyTorch."""
    import torch
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    kernel, filters, (rate, rate_1, rate_2) = 3, (32, 64, 128), (0.25, 0.25, 0.10)

    def convolution(channels, count, stride=1):
        return nn.Sequential(nn.BatchNorm2d(channels), nn.Conv2d(channels, count, kernel, stride), nn.ReLU())

    class GapNet(nn.Module):
        def __init__(self):
            super().__init__()
            first, second, third = filters
            end = [nn.MaxPool2d(2), nn.Dropout(rate)]
            self.blocks = nn.ModuleList(
                [
                    nn.Sequential(convolution(4, first), nn.BatchNorm2d(first), *end),
                    nn.Sequential(
                        convolution(first, second, 2), convolution(second, second), convolution(second, second),
                        nn.BatchNorm2d(second), *end,
                    ),
                    nn.Sequential(
                        convolution(second, third), convolution(third, third), convolution(third, third), nn.Dropout(rate)
                    ),
                ]
            )  # fmt: skip
            self.dense = nn.Sequential(
                nn.BatchNorm1d(sum(filters)), nn.Linear(sum(filters), 256), nn.ReLU(), nn.Dropout(rate_1),
                nn.BatchNorm1d(256), nn.Linear(256, 256), nn.ReLU(), nn.Dropout(rate_2), nn.Linear(256, CLASSES),
            )  # fmt: skip

        def forward(self, images):
            x, pooled = images / 255, []
            for block in self.blocks:
                x = block(x)
                pooled.append(x.mean(dim=(2, 3)))
            return self.dense(torch.cat(pooled, dim=1))

    images, targets = (torch.from_numpy(each) for each in pixels(options))
    model = GapNet().to(device, memory_format=torch.channels_last)
    assert sum(each.numel() for each in model.parameters()) == 595_268  # as Keras counts what learns
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    half = settings_of(options).precision != "float32"
    run = torch.compile(model) if "compiled" in name else model
    size = min(options.batch_size, options.rows)
    truth = targets[:size].float().to(device)

    def seen(batch):
        """Return a batch of images [B, S, S, C] as PyTorch has them, without moving a pixel: channels last."""
        return batch.to(device, non_blocking=True).permute(0, 3, 1, 2)

    def predict():
        model.eval()
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=half):
            for start in range(0, options.rows - size + 1, size):
                torch.sigmoid(run(seen(images[start : start + size]))).float().cpu()
        return options.rows // size * size

    ready = seen(images[:size])

    def learn():
        steps = -(-options.rows // size)
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=half):
                logits = run(ready)
            nn.functional.binary_cross_entropy_with_logits(logits.float(), truth).backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        return steps * size

    return predict if "predict" in name else learn


def work(name, options):
    """Do a round and print its images a second, for each line of the standard input."""
    do = (rounds_of_torch if name.startswith("torch") else rounds_of_hpa)(name, options)
    for _ in sys.stdin:
        start = time.perf_counter()
        images = do()
        print("rate", images / (time.perf_counter() - start), flush=True)


def train_the_whole(options):
    """Train forty epochs of the competition's size, and print the time."""
    from hpa.backend import quiet_import

    with quiet_import():
        import keras

    from hpa.data.store import ConcatenatedImages
    from hpa.data.tables import SampleTable
    from hpa.hardware import accelerators
    from hpa.tasks import HPA
    from hpa.training.fit import Rows, fit

    images, targets = pixels(options)
    counts = COMPETITION if options.full_rows is None else (options.full_rows, options.full_rows // 4)
    total, times = sum(counts), -(-sum(counts) // options.rows)
    repeated = ConcatenatedImages([images] * times)
    table = SampleTable(np.array([f"{row:06d}" for row in range(len(repeated))]), np.tile(targets, (times, 1)))
    place = options.augment_on or ("device" if accelerators() else "host")
    settings = settings_of(options, epochs=options.epochs, augment_on=place)
    learned, validated = Rows(repeated, table, np.arange(counts[0])), Rows(repeated, table, np.arange(counts[0], total))
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        fit(Path(folder), settings, HPA, lambda: new_network(options, settings), learned, validated)
    seconds = time.perf_counter() - start
    shown = f"{counts[0]:,} and {counts[1]:,} images of {options.size} px under {keras.backend.backend()}"
    print(f"{options.epochs} epochs of {shown}, augmented on the {place}: {seconds / 60:.1f} minutes, validation included")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 4096), ("size", 256), ("batch-size", 128), ("rounds", 5), ("epochs", 40)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--full", action="store_true", help="train forty epochs, too")
    parser.add_argument("--full-rows", type=int, help="training rows of --full, if other than the competition's")
    parser.add_argument("--augment-on", choices=("host", "device"), help="for --full; if not given, device on a GPU")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        work(options.only, options) if options.only != "full" else train_the_whole(options)
        return
    names = [name for name in (*TRAINING, *PREDICTION) if find_spec("torch") or not name.startswith("torch")]
    command = [sys.executable, __file__, *sys.argv[1:], "--only"]
    # The contenders share the device's memory: JAX would take three quarters of it for itself.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
    workers = {}
    for name in names:
        errors = open(os.devnull, "w") if name.startswith("torch") else None  # noqa: SIM115
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        workers[name] = subprocess.Popen([*command, name], env=environment, text=True, **pipes)
    rates = {name: [] for name in names}
    for number in range(options.rounds + 1):
        for name, worker in workers.items():
            worker.stdin.write("round\n")
            worker.stdin.flush()
            while (line := worker.stdout.readline()) and not line.startswith("rate "):
                if number == 0 and name == names[0]:
                    print(line, end="")  # what it runs on
            if not line:
                sys.exit(f"{name} has failed")
            if number:  # the first round compiles
                rates[name].append(float(line.split()[1]))
    for worker in workers.values():
        worker.communicate()
    print(f"{options.rows} images of {options.size} px, batches of {options.batch_size}, median of {options.rounds} rounds")
    for name in names:
        print(f"{name:>26}: {statistics.median(rates[name]):8,.0f} images/s")
    for name in ("hpa, device", "hpa, host"):
        shares = [1 - loop / step for loop, step in zip(rates[name], rates["hpa, step"], strict=True)]
        print(f"held up by feed and augmentation, {name}: {statistics.median(shares):.0%} of the time")
    for name, others in (("hpa, device", TRAINING), ("hpa, predict", PREDICTION)):
        theirs = [other for other in others if other in rates and other.startswith("torch")]
        if theirs:
            best = max(theirs, key=lambda other: statistics.median(rates[other]))
            ratios = [ours / other for ours, other in zip(rates[name], rates[best], strict=True)]
            print(f"{name} / {best}: {statistics.median(ratios):.2f}", flush=True)
    if not find_spec("torch"):
        print("torch is missing: nothing to compare with")
    if options.full:
        subprocess.run([*command, "full"], check=True)


if __name__ == "__main__":
    main()
