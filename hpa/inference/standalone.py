"""Classify the images of a folder: python predict.py MODEL.onnx FOLDER. Needs numpy, opencv-python and onnxruntime alone."""

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np


def read(files: list[Path], about: dict) -> np.ndarray:  # type: ignore[type-arg]
    """Return one sample, uint8 [1, size, size, channels], as the network takes it."""
    channels = []
    for file, interval in zip(files, about["intensity_range"] or [None] * len(files), strict=True):
        channel = np.asarray(cv2.imread(str(file), cv2.IMREAD_UNCHANGED))
        if interval:  # 16 bits: its ends become 0 and 255
            share = (channel.astype(float) - interval[0]) / (interval[1] - interval[0])
            channel = np.round(np.clip(share, 0, 1) * 255).astype(np.uint8)
        way = cv2.INTER_AREA if min(channel.shape) >= about["size"] else cv2.INTER_LINEAR
        channels.append(cv2.resize(channel, (about["size"], about["size"]), interpolation=way))
    return np.dstack(channels)[None]


def main(model: str, folder: str) -> None:
    """Print a table of the classes of all samples of a folder."""
    import onnxruntime

    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    about = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
    files = {file.stem: file for file in sorted(Path(folder).rglob("*.*"))}
    first, table = about["suffixes"][0], csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["Id", "Predicted", *about["classes"]])
    for sample in sorted(stem.removesuffix(first) for stem in files if stem.endswith(first)):
        image = read([files[sample + suffix] for suffix in about["suffixes"]], about)
        [probabilities] = session.run(None, {session.get_inputs()[0].name: image})[0]
        chosen = [each for each, least in enumerate(about["thresholds"]) if probabilities[each] > least]
        names = [about["classes"][each] for each in chosen or [probabilities.argmax()]]
        table.writerow([sample, " | ".join(names), *np.round(probabilities, 4)])


if __name__ == "__main__":
    main(*sys.argv[1:])
