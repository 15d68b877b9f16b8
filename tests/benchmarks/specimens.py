"""What helps on specimens that no cell was learned from: the same folds and seeds for every idea, at a small equal budget.

Run `python tests/benchmarks/specimens.py DATA GROUPS FOLDER`, where DATA has `train/` and maybe `validation/` with HEp-2
cells, all of which are used, and GROUPS is what `--groups` takes, such as the CSV of `hpa specimens`; stopped and started
again, it goes on. With `--folds-by neighbours-300` or `--folds-by cells` the folds are others, which leak.

A narrow CellNet learns from cells of half the side in a few epochs, on one core; the last epoch counts, so that nothing is
chosen by the cells that score. Each row of the table differs from `baseline` in what it is named after. Intervals are basic
bootstrap intervals over specimens, those of the gain with the same specimens for both rows.
"""

import argparse
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ |= {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

import cv2
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hpa.data.augment import augment
from hpa.data.groups import read_groups
from hpa.data.images import read_image
from hpa.data.layout import find_files
from hpa.data.mixing import draw, paint, weigh
from hpa.data.stratify import stratified_folds
from hpa.data.tables import concatenate, read_labelled
from hpa.models.cellnet import cellnet
from hpa.scoring.comparison import basic_interval
from hpa.scoring.conformal import class_levels, describe_sets, label_sets
from hpa.scoring.selective import confidence, selective_accuracy
from hpa.tasks import HEP2

FOLDS, SIZE, FILTERS, BATCH, RATE, SMOOTHING = 5, 39, (12, 24, 48, 96), 64, 4e-3, 0.05
REVERSAL, DRO_STEP = 0.3, 0.02
HALVINGS, ERROR = 200, 0.1


@dataclass(frozen=True)
class Idea:
    """How a row learns; the defaults are those of the baseline."""

    standardised: str = "image"  # "image", "specimen" or "no"
    strong: bool = False  # exposure, noise and blur
    balanced: bool = False  # every specimen of a class as often
    mixing: str = "none"
    reversal: bool = False  # of the gradient of a head that tells a class's specimens apart
    dro: bool = False  # group distributionally robust optimisation over specimens


LEARNED = {
    "baseline": Idea(),
    "strong augmentation": Idea(strong=True),
    "balanced over specimens": Idea(balanced=True),
    "specimen standardisation": Idea(standardised="specimen"),
    "no standardisation": Idea(standardised="no"),
    "mix-up": Idea(mixing="mix-up"),
    "gradient reversal": Idea(reversal=True),
    "group DRO": Idea(dro=True),
    "strong and balanced": Idea(strong=True, balanced=True),
}
PREDICTED = ("", "8 views", "specimen statistics")  # ways to predict with the same network
FREE = {"baseline": PREDICTED}


def vary(images, items, seed, epoch, strong):
    """Return augmented copies of uint8 [n, S, S, 1]; `strong` ones vary more in exposure, noise and blur."""
    varied = augment(images, items, "cells", seed, epoch, items)
    if not strong:
        return varied
    generator = np.random.default_rng([seed, epoch, *items[:4]])
    for image in varied:
        gamma, noise, blur = np.exp(generator.uniform(-0.7, 0.7)), generator.uniform(0, 16), generator.uniform(0, 1.2)
        light = 255 * (image[..., 0] / np.float32(255)) ** np.float32(gamma)
        if generator.random() < 0.5:
            light = cv2.GaussianBlur(light, (0, 0), max(blur, 0.1))
        if generator.random() < 0.5:
            light = light + noise * generator.standard_normal(light.shape, np.float32)
        image[..., 0] = light.clip(0, 255)
    return varied


def by_specimen(images, specimen):
    """Bring the pixels of each specimen to mean 80 and deviation 50, uint8 [n, S, S, 1]."""
    out = np.empty_like(images)
    for own in np.unique(specimen):
        chosen = images[specimen == own].astype(np.float32)
        out[specimen == own] = ((chosen - chosen.mean()) / (chosen.std() + 1e-6) * 50 + 80).clip(0, 255)
    return out


def network(standardised):
    """Return the network and its features; without standardisation of each image the layer for it goes."""
    model = cellnet(SIZE, 1, len(HEP2.classes), "softmax", FILTERS, (1, 1, 1, 1), 3, 0.2)
    if standardised != "image":
        skipped = next(layer for layer in model.layers if isinstance(layer, keras.layers.LayerNormalization))
        replacement = keras.layers.Rescaling(2.0, -0.6)
        model = keras.models.clone_model(
            model,
            clone_function=lambda layer: (
                replacement if layer is skipped else layer.__class__.from_config(layer.get_config())
            ),
        )
    names = [layer.name for layer in model.layers]
    return keras.Model(model.input, [model.output, model.get_layer(next(n for n in names if n.endswith("features"))).output])


def learn(idea, images, targets, specimen, rows, epochs, seed):
    """Return the trained network."""
    keras.utils.set_random_seed(seed)
    model = network(idea.standardised)
    generator = np.random.default_rng(seed)
    steps = epochs * -(-len(rows) // BATCH)
    schedule = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=RATE, warmup_steps=steps // 10)
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.05)
    loss = partial(keras.losses.categorical_crossentropy, label_smoothing=SMOOTHING)
    _, own = np.unique(specimen, return_inverse=True)
    of_class = np.zeros((len(HEP2.classes), own.max() + 1), np.float32)
    of_class[targets.argmax(axis=1), own] = 1
    head = keras.layers.Dense(int(own.max()) + 1)
    head.build((None, model.output[1].shape[-1]))
    weights = tf.Variable(np.ones(own.max() + 1, np.float32))
    variables = [*model.trainable_variables, *(head.trainable_variables if idea.reversal else ())]
    optimizer.build(variables)

    @tf.custom_gradient
    def reversed_gradient(x):
        return tf.identity(x), lambda upstream: -REVERSAL * upstream

    @tf.function(reduce_retracing=True)
    def step(x, y, group):
        with tf.GradientTape() as tape:
            probabilities, features = model(x, training=True)
            each = loss(y, probabilities)
            total = tf.reduce_mean(each * tf.gather(weights, group) if idea.dro else each)
            if idea.reversal:
                others = (1 - tf.gather(tf.constant(of_class), tf.argmax(y, axis=1))) * -1e4
                logits = head(reversed_gradient(features)) + others
                total += tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(group, logits))
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        if idea.dro:  # Sagawa et al., "Distributionally robust neural networks", ICLR 2020
            raised = tf.tensor_scatter_nd_add(tf.math.log(weights), group[:, None], DRO_STEP * each)
            weights.assign(tf.cast(tf.size(weights), tf.float32) * tf.nn.softmax(raised))

    sizes = np.bincount(own[rows], minlength=own.max() + 1)
    class_rows = targets[rows].sum(axis=0)[targets[rows].argmax(axis=1)]
    specimens_of_class = (of_class * (sizes > 0)).sum(axis=1)[targets[rows].argmax(axis=1)]
    shares = class_rows / specimens_of_class / sizes[own[rows]] / len(rows)
    for epoch in range(epochs):
        order = generator.choice(rows, len(rows), p=shares) if idea.balanced else generator.permutation(rows)
        for start in range(0, len(order), BATCH):
            items = order[start : start + BATCH]
            x, y = vary(images, items, seed, epoch, idea.strong), targets[items].astype(np.float32)
            layers = draw(idea.mixing, generator, *x.shape[:2])
            x, y = paint(x, layers), weigh(y, layers, x.shape[1])
            step(tf.constant(x), tf.constant(y), tf.constant(own[items].astype(np.int32)))
    return model


def predict(model, images, specimen, way):
    """Return probabilities float32 [n, classes], predicted in one of the ways in `PREDICTED`."""
    if way == "specimen statistics":
        kept = model.get_weights()
        next(layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)).rate = 0
        found = np.empty((len(images), len(HEP2.classes)), np.float32)
        for own in np.unique(specimen):
            found[specimen == own] = model(images[specimen == own], training=True)[0].numpy()
        model.set_weights(kept)
        return found
    views = [np.rot90(flipped, turns, axes=(1, 2)) for flipped in (images, images[:, :, ::-1]) for turns in range(4)]
    views = views if way == "8 views" else views[:1]
    return np.mean([model.predict(np.ascontiguousarray(view), batch_size=512, verbose=0)[0] for view in views], axis=0)


def scores(truth, probabilities, specimen):
    """Return hits per cell, and for each specimen its class, its cells, its hits and whether its vote is right."""
    hit = probabilities.argmax(axis=1) == truth
    logs = pd.DataFrame(np.log(probabilities + 1e-6)).groupby(specimen).mean()
    frame = pd.DataFrame({"class": truth, "hit": hit, "specimen": specimen}).groupby("specimen")
    table = frame.agg(number=("class", "first"), cells=("hit", "size"), hits=("hit", "sum"))
    return table.assign(vote=logs.to_numpy().argmax(axis=1) == table["number"])


def figures(table, times):
    """Return accuracy, mean class accuracy and right votes [3, n]; `times` [n, specimens] says how often each is."""
    cells, hits = times @ table["cells"], times @ table["hits"]
    classes = [table["number"] == number for number in range(len(HEP2.classes))]
    recalls = [
        (times[..., own] @ table["hits"][own]) / np.maximum(times[..., own] @ table["cells"][own], 1) for own in classes
    ]
    return np.stack([hits / cells, np.mean(recalls, axis=0), (times @ table["vote"]) / times.sum(axis=-1)])


def resamples(table, count=2000):
    """Draw the specimens of each class again, so that no class is absent: how often each comes, [count, specimens]."""
    generator, times = np.random.default_rng(0), np.zeros((count, len(table)))
    for number in np.unique(table["number"]):
        own = np.flatnonzero(table["number"] == number)
        drawn = generator.choice(own, (count, len(own)))
        np.add.at(times, (np.arange(count)[:, None], drawn), 1)
    return times


def worth(targets, probabilities, specimen) -> None:
    """Print what predictions are worth to a laboratory: sure answers, and label sets calibrated on half of the specimens."""
    predicted = np.eye(targets.shape[1])[probabilities.argmax(axis=1)]
    print(selective_accuracy(targets, predicted, confidence(probabilities, predicted)).to_string(index=False))
    truth, generator = targets.argmax(axis=1), np.random.default_rng(0)
    true = probabilities[np.arange(len(truth)), truth]
    found = {}
    for _ in range(HALVINGS):
        drawn = [generator.permutation(np.unique(specimen[truth == each])) for each in range(targets.shape[1])]
        half = np.isin(specimen, np.concatenate([each[: len(each) // 2] for each in drawn]))
        for name, part, groups in (
            ("cells", half, None),
            ("specimens", half, specimen),
            ("cells at random", generator.random(len(truth)) < 0.5, None),
        ):
            groups = None if groups is None else groups[part]
            levels = {
                "one level": class_levels(np.ones((part.sum(), 1)), true[part, None], 1 - ERROR, groups),
                "a level for each class": class_levels(targets[part], probabilities[part], 1 - ERROR, groups),
            }
            for kind, own in levels.items():
                quality = describe_sets(targets[~part], label_sets(probabilities[~part], own))
                found.setdefault(f"{name}, {kind}", []).append(quality)
    for name, qualities in found.items():
        table = pd.DataFrame(qualities)
        print(f"{name}: {table.mean().round(3).to_dict()}, a tenth below {table['coverage'].quantile(0.1):.3f}")


def main() -> None:
    """Train, predict, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="the cells")
    parser.add_argument("groups", help="the specimens; several files separated by commas stay together")
    parser.add_argument("folder", type=Path, help="where predictions are written")
    parser.add_argument("--folds-by", help="other groups for the folds, or cells for none (default: GROUPS)")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", default=",".join(LEARNED), help="names of rows, separated by commas")
    parser.add_argument("--report-only", action="store_true", help="train nothing; compare what is there")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    cv2.setNumThreads(1)
    sets = {
        name: read_labelled(options.data / name, HEP2) for name in ("train", "validation") if (options.data / name).is_dir()
    }
    table = concatenate(sets.values())
    files = [each for name, own in sets.items() for each in find_files(options.data / name, own.ids, HEP2)]
    images = np.stack([read_image(each, HEP2, SIZE) for each in files])
    specimen = read_groups(options.groups, table.ids)
    targets, truth = table.known_targets, table.known_targets.argmax(axis=1)
    by = options.folds_by
    together = specimen if by is None else None if by == "cells" else read_groups(by, table.ids)
    fold = stratified_folds(targets, FOLDS, 0, together)
    standardised = by_specimen(images, specimen)
    for held_out in () if options.report_only else range(FOLDS):  # so what is there can be compared at any time
        rows, scored = np.flatnonzero(fold != held_out), np.flatnonzero(fold == held_out)
        for name in options.rows.split(","):
            file = options.folder / f"{name}-{options.seed}-{held_out}.npz"
            if file.exists():
                continue
            start, idea = time.perf_counter(), LEARNED[name]
            own = standardised if idea.standardised == "specimen" else images
            model = learn(idea, own, targets, specimen, rows, options.epochs, options.seed)
            ways = {way: predict(model, own[scored], specimen[scored], way) for way in FREE.get(name, PREDICTED[:1])}
            np.savez(file.with_suffix(".part.npz"), rows=scored, **ways)
            file.with_suffix(".part.npz").rename(file)
            accuracy = (ways[""].argmax(axis=1) == truth[scored]).mean()
            print(f"fold {held_out}, {name}: {accuracy:.4f}, {time.perf_counter() - start:.0f} s", flush=True)
    report(options, targets, specimen)


def report(options, targets, specimen) -> None:
    """Print and write a row for each idea, on the folds that all have, and print what the baseline's 8 views are worth."""
    truth = targets.argmax(axis=1)
    names, tables = options.rows.split(","), {}
    files = {name: [options.folder / f"{name}-{options.seed}-{held_out}.npz" for held_out in range(FOLDS)] for name in names}
    there = [held_out for held_out in range(FOLDS) if all(own[held_out].exists() for own in files.values())]
    print(f"folds {there}")
    for name in names:
        parts = [np.load(files[name][held_out]) for held_out in there]
        rows = np.concatenate([part["rows"] for part in parts])
        for way in FREE.get(name, PREDICTED[:1]):
            probabilities = np.concatenate([part[way] for part in parts])
            tables[f"{name}{way and ', ' + way}"] = scores(truth[rows], probabilities, specimen[rows])
            if way == "8 views":
                worth(targets[rows], probabilities, specimen[rows])
    first = next(iter(tables.values()))
    times = resamples(first)
    once = np.ones((1, len(first)))
    against, against_drawn = figures(first, once)[:, 0], figures(first, times)
    lines = []
    for name, own in tables.items():
        found, drawn = figures(own, once)[:, 0], figures(own, times)
        line = {"row": name}
        for place, score in enumerate(("accuracy", "mean class accuracy", "vote")):
            low, high = basic_interval(found[place], drawn[place])
            line |= {score: found[place], f"{score} low": low, f"{score} high": high}
        low, high = basic_interval(found[1] - against[1], drawn[1] - against_drawn[1], -1)
        lines.append(line | {"gain": found[1] - against[1], "gain low": low, "gain high": high})
    found = pd.DataFrame(lines)
    found.to_csv(options.folder / f"rows-{options.seed}.csv", index=False)
    print((found.set_index("row") * 100).round(1).to_string())


if __name__ == "__main__":
    main()
