"""Classify the images of a folder: python predict.py MODEL.onnx FOLDER. Needs numpy, opencv-python and onnxruntime alone."""

import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
files = {file.stem: file for file in sorted(Path(sys.argv[2]).rglob("*.*"))}
assert not about["reading"], f"not known here: {about['reading']}"  # other ways to read files, of the task
size, classes, suffixes = about["size"], about["classes"], about["suffixes"]
table = csv.writer(sys.stdout, lineterminator="\n")
table.writerow(["Id", "Predicted", *classes])
for sample in sorted(stem.removesuffix(suffixes[0]) for stem in files if stem.endswith(suffixes[0])):
    image = []
    for suffix, interval in zip(suffixes, about["intensity_range"] or [None] * len(suffixes), strict=True):
        file = files[sample + suffix]
        channel = np.asarray(cv2.imread(str(file), cv2.IMREAD_UNCHANGED))
        assert channel.dtype == (np.uint16 if interval else np.uint8), f"{file}: no image, or of other bits than in training"
        channel = np.round(np.interp(channel, interval or (0, 255), (0, 255))).astype(np.uint8)  # its ends become 0 and 255
        way = cv2.INTER_AREA if min(channel.shape) >= size else cv2.INTER_LINEAR
        image.append(cv2.resize(channel, (size, size), interpolation=way))
    [found] = session.run(None, {"images": np.dstack(image)[None]})[0]
    chosen = [classes[each] for each in np.flatnonzero(found > about["thresholds"])] or [classes[found.argmax()]]
    table.writerow([sample, " | ".join(chosen), *np.round(found, 4)])
