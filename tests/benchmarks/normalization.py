"""How fast variant 0 trains with this package's batch normalisation, against Keras' own layer in the same network.

Run `python tests/benchmarks/normalization.py`. The two are measured in turn, never at the same time.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import keras
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.models.catalog import build  # noqa: E402
from hpa.models.normalization import BatchNormalization  # noqa: E402
from hpa.settings import PRECISIONS, Settings  # noqa: E402
from hpa.tasks import HPA  # noqa: E402
from hpa.training.fit import compile_model, computing_in  # noqa: E402

SIZES = {80: 32, 256: 16}  # and the images in a step
STEPS = 3
REPEATS = 5


def with_keras_own(layer: keras.Layer) -> keras.Layer:
    """Return a copy of a layer; of our batch normalisation, Keras' layer with the same settings."""
    kind = keras.layers.BatchNormalization if isinstance(layer, BatchNormalization) else type(layer)
    return kind.from_config(layer.get_config())


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    generator = np.random.default_rng(0)
    for size, batch_size in SIZES.items():
        images = generator.integers(0, 256, (batch_size, size, size, len(HPA.channels)), dtype=np.uint8)
        targets = generator.integers(0, 2, (batch_size, len(HPA.classes))).astype(np.float32)
        for precision in PRECISIONS:
            settings = Settings(variant=0, size=size, batch_size=batch_size, precision=precision)
            with computing_in(precision):
                ours = build(settings.model, size, len(HPA.channels), len(HPA.classes), variant=settings.variant)
            models = [ours, keras.models.clone_model(ours, clone_function=with_keras_own)]
            for model in models:
                compile_model(model, settings, HPA, keras.optimizers.Adam(settings.learning_rate))
                model.train_on_batch(images, targets)  # traces the step; not what is measured
            rates = []
            for _ in range(REPEATS):
                for model in models:
                    start = time.perf_counter()
                    for _ in range(STEPS):
                        model.train_on_batch(images, targets)
                    rates.append(STEPS * batch_size / (time.perf_counter() - start))
            own, theirs = rates[::2], rates[1::2]
            ratio = statistics.median(one / other for one, other in zip(own, theirs, strict=True))
            print(
                f"{size} px, {precision}: {statistics.median(own):.0f} images/s, with Keras' layer "
                f"{statistics.median(theirs):.0f}, {ratio:.2f} times as fast"
            )


if __name__ == "__main__":
    main()
