"""Predictions of new networks by Keras, Keras with XLA, ONNX Runtime and OpenVINO on the CPU, in turn, in images a second.

Run `python tests/benchmarks/engines.py` in an environment that also has `tests/benchmarks/engines-requirements.txt`, with
TensorFlow. GapNet variant 0 takes fields of 256 pixels, the CellNet of the preset `cells` cells of 78, in batches of 64 as
`hpa predict` does. All compute in float32. `python tests/benchmarks/engines.py MODELS` predicts with so many GapNets and
`--tta 8`, each model by itself and all in one pass.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import keras  # noqa: E402
import numpy as np  # noqa: E402

from hpa.inference.engines import with_engine  # noqa: E402
from hpa.inference.predict import BATCH  # noqa: E402
from hpa.models.catalog import build  # noqa: E402
from hpa.training.presets import PRESETS  # noqa: E402
from hpa.tta import TTA  # noqa: E402

ROUNDS = 7
CELLNET = {name: PRESETS["cells"][name] for name in ("filters", "blocks", "kernel", "dropout")}
NETWORKS = {
    "GapNet variant 0": ("gapnet", 256, 4, 28, "sigmoid", {"variant": 0}),
    "CellNet": ("cellnet", PRESETS["cells"]["size"], 1, 6, "softmax", CELLNET),
}


def timed(work, *arguments):
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - start


def compare(title, name, size, channels, classes, output, arguments) -> None:
    """Print images a second of each engine, and its ratio to Keras."""
    keras.utils.set_random_seed(0)
    model = build(name, size, channels, classes, output, **arguments)
    images = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, channels), np.uint8)
    compiled = keras.models.clone_model(model)
    compiled.set_weights(model.get_weights())
    model.compile(jit_compile=False)
    compiled.compile(jit_compile=True)
    engines = {
        "Keras": model.predict_on_batch,
        "Keras with XLA": compiled.predict_on_batch,
        "ONNX Runtime": with_engine(model, "onnxruntime", size).predict_on_batch,
        "OpenVINO": with_engine(model, "openvino", size).predict_on_batch,
    }
    expected = model.predict_on_batch(images)
    apart = {engine: float(np.abs(predict(images) - expected).max()) for engine, predict in engines.items()}
    seconds = {engine: [] for engine in engines}
    for _ in range(ROUNDS):
        for engine, predict in engines.items():
            seconds[engine].append(timed(predict, images))
    for engine, own in seconds.items():
        fastest = min(seconds["Keras"]) / min(own)  # other load of the computer only slows down
        ratio = statistics.median(before / mine for before, mine in zip(seconds["Keras"], own, strict=True))
        print(f"{title}, {engine}: {BATCH / min(own):.1f} images/s, {fastest:.2f} times Keras ", end="")
        print(f"(median of {ROUNDS} pairs {ratio:.2f}), {apart[engine]:.0e} apart", flush=True)


def one_pass(count: int) -> None:
    """Print how long several models take one by one and in one pass over the copies of an image."""
    models = [build("gapnet", 128, 4, 28, variant=0) for number in range(count)]
    for model in models:
        model.compile(jit_compile=False)
    images = np.random.default_rng(0).integers(0, 256, (BATCH, 128, 128, 4), np.uint8)
    tta = TTA(8)

    def one_by_one():
        return np.stack([tta.predict(model, images, "many") for model in models])

    same = np.array_equal(one_by_one(), tta.predict_all(models, images, "many"))
    rounds = [(timed(one_by_one), timed(tta.predict_all, models, images, "many")) for _ in range(ROUNDS)]
    ratio = statistics.median(alone / together for alone, together in rounds)
    together = statistics.median(own for _, own in rounds)
    print(
        f"{count} models, 128 px, --tta 8: {together:.2f} s for {BATCH} images, {ratio:.3f} times as fast as one by one",
        end="",
    )
    print(f"; equal to the bit: {same}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", type=int, nargs="?", help="how many predict in one pass (default: compare the engines)")
    options = parser.parse_args()
    if options.models:
        one_pass(options.models)
    else:
        for title, network in NETWORKS.items():
            compare(title, *network)


if __name__ == "__main__":
    main()
