"""A model to take away: one file or folder that other programs run without hpa, with all that they need to know about it."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from hpa import __version__
from hpa.data.layout import say_once
from hpa.errors import BadInput, Failure, refuse
from hpa.files import read_json, write_json, write_text, written_whole
from hpa.inference.classifier import page_of, read_runtime, require_readable
from hpa.inference.engines import ENGINES, require_packages, write_onnx
from hpa.inference.predict import common_task, form_of, load_run, require_models
from hpa.models.catalog import in_float32
from hpa.runs.entry import members_of_entry
from hpa.scoring.blend import thresholds_and_rows
from hpa.scoring.predictions import read_predictions
from hpa.tasks import Task
from hpa.tta import EPSILON, NO_TTA, TTA, VIEWS

TOLERANCE = 1e-4
ONNX = ENGINES["onnxruntime"][0]
# For each format the packages that it needs, and how the name of its file ends; none for a folder.
FORMATS = {
    "onnx": (ONNX, ".onnx"),
    "html": (ONNX, ".html"),
    "saved-model": (("tensorflow",), ""),
    "litert": (("tensorflow",), ".tflite"),
}


@dataclass(frozen=True)
class Chosen:
    """What is exported.

    Attributes:
        members: run folders and their weights, of sum 1.
        thresholds: float64 [classes].
        tta: test-time augmentation that becomes part of the model.
    """

    members: dict[Path, float]
    thresholds: np.ndarray
    tta: TTA


def chosen_run(folder: Path, tta: TTA = NO_TTA) -> Chosen:
    """Return one run with the thresholds that it has for a test-time augmentation."""
    task = common_task([folder])
    thresholds, _ = thresholds_and_rows([folder], task.labels, len(task.classes), tta)
    return Chosen({folder: 1.0}, thresholds, tta)


def chosen_ensemble(path: Path) -> Chosen:
    """Return the members of an ensemble that have a weight, by the JSON that `hpa ensemble` wrote next to a submission.

    Raises:
        BadInput: if it is no such file, or a member is no run.
    """
    about = read_json(path)
    try:
        thresholds = np.array(list(about["thresholds"].values()), np.float64)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput(f"{path}: not what hpa ensemble writes next to a submission; name such a JSON") from error
    members: dict[Path, float] = {}
    for folders, weight in members_of_entry(path, about):
        members |= {folder: weight / len(folders) for folder in folders if weight > 0}
    absent = [folder for folder in members if not (folder / "model.keras").is_file()]
    refuse(path, [f"member {folder} has no model.keras; only runs of hpa can be exported" for folder in absent])
    return Chosen(members, thresholds, read_predictions(next(iter(members)) / "validation.npz").tta)


def export(chosen: Chosen, kind: str, out: Path, runtime: Path | None = None) -> str:
    """Write a model that takes uint8 [n, S, S, C] and returns float32 probabilities [n, classes]; say what was written.

    `onnx` writes a file with its metadata inside, checked by ONNX Runtime, and `predict.py` next to it. `html` writes a page
    that classifies images in a browser, see `hpa.inference.classifier`. `saved-model` writes a folder of TensorFlow, and
    `litert` a file; their metadata is in a JSON of the same name with `.json` after it.

    Args:
        chosen: what is exported.
        kind: a key of `FORMATS`.
        out: the file or folder to write.
        runtime: for `html` the npm package of what runs the network; None to fetch it.

    Raises:
        BadInput: if members have other tasks, sizes or intensity ranges than the first one, or a package is missing.
        Failure: if the exported model's probabilities differ from Keras' by more than `TOLERANCE`, or the runtime cannot be
            fetched.
    """
    require_format(kind, out)
    script, own = out.with_name("predict.py"), Path(__file__).with_name("take_away") / "predict.py"
    if kind == "onnx" and script.exists() and _first_line(script) != _first_line(own):
        raise BadInput(f"out {out}: {script} next to it is not hpa's and would be replaced; name another folder", "out")
    if kind == "html":
        require_readable(common_task(list(chosen.members)))
    packed = read_runtime(runtime) if kind == "html" else {}
    network, about = as_one_network(chosen), metadata(chosen)
    words = f"{out}: {_words(chosen, about)}"
    if kind == "onnx":
        with written_whole(out) as temporary:
            _write_onnx(network, about, temporary)
        with written_whole(script) as temporary:
            shutil.copyfile(own, temporary)
        return f"{words}; python {script} {out} FOLDER predicts with it"
    if kind == "html":
        with tempfile.TemporaryDirectory() as folder:
            _write_onnx(network, about, file := Path(folder) / "model.onnx")
            packed |= {"model": file.read_bytes()}
        write_text(out, page_of(about, common_task(list(chosen.members)), packed, _words(chosen, about)))
        return f"{words}, {out.stat().st_size / 1e6:.1f} MB; open it in a browser and drop images on it"
    if kind == "litert":
        with written_whole(out) as temporary:
            network.export(str(temporary), format="litert", verbose=False)
    else:
        temporary = out.with_name(f".{out.name}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        network.export(str(temporary), format="tf_saved_model", verbose=False)
        temporary.rename(out)
    write_json(out.with_name(f"{out.name}.json"), about)
    return f"{words}; {out.name}.json tells classes and thresholds"


def _write_onnx(network: keras.Model, about: dict[str, Any], path: Path) -> None:
    """Write a network with its metadata as ONNX, and check it."""
    import onnx

    write_onnx(network, path)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {name: json.dumps(value) for name, value in about.items()})
    onnx.save(model, path)
    _require_equal(network, path)


def require_format(kind: str, out: Path) -> None:
    """Raise BadInput if a format cannot be written here, or not to this place."""
    packages, suffix = FORMATS[kind]
    require_packages(packages, kind, "export", "format")
    if kind == "litert" and keras.backend.backend() != "tensorflow":
        raise BadInput(f"format {kind}: only the backend tensorflow writes it; unset KERAS_BACKEND", setting="format")
    if suffix and out.suffix != suffix:
        raise BadInput(f"out {out}: the name of such a file ends in {suffix}", setting="out")
    if not suffix and out.exists():
        raise BadInput(f"out {out}: exists already; name a new folder", setting="out")


def as_one_network(chosen: Chosen) -> keras.Model:
    """Return the weighted mean of the members over the views of the images, as one Keras model in float32."""
    folders = list(chosen.members)
    require_models("run", folders)
    task, forms = common_task(folders), [form_of(folder) for folder in folders]
    other = [folder for folder, form in zip(folders, forms, strict=True) if form != forms[0]]
    fix = "one file takes one kind of image"
    refuse("members", [f"{each} has images of another size or intensity range than {folders[0]}; {fix}" for each in other])
    images = keras.Input((forms[0][0], forms[0][0], len(task.channels)), dtype="uint8", name="images")
    total = 0
    for number, (folder, weight) in enumerate(chosen.members.items()):
        own = in_float32(load_run(folder))
        member = keras.Model(own.input, own.output, name=f"member_{number}")
        outputs = [member(_view(images, *each)) for each in VIEWS[chosen.tta.views]]
        total = total + weight * _mean(outputs, chosen.tta, task)
    network = keras.Model(images, keras.layers.Identity(name="probabilities")(total), name="hpa")
    network.predict_on_batch(np.zeros((1, *images.shape[1:]), np.uint8))
    return network


def metadata(chosen: Chosen) -> dict[str, Any]:
    """Return what a program must know to use an exported model, as JSON has it."""
    folders = list(chosen.members)
    task, (size, ranges) = common_task(folders), form_of(folders[0])
    if task.reading:
        say_once(
            f"the task {task.name} states {', '.join(task.reading)}: give the model images that are read so; the program "
            "predict.py, which comes with ONNX and reads a grey file for each channel, refuses them"
        )
    return {
        "hpa": __version__,
        "task": task.name,
        "labels": task.labels,
        "classes": list(task.classes),
        "channels": list(task.channels),
        "suffixes": list(task.suffixes),
        "size": size,
        "reading": task.reading,
        "intensity_range": ranges and [each and list(each) for each in ranges],
        "thresholds": np.round(chosen.thresholds, 6).tolist(),
        "members": {str(folder): weight for folder, weight in chosen.members.items()},
        "tta": chosen.tta.views,
        "tta_average": chosen.tta.average,
    }


def _view(images: Any, turns: int, mirrored: bool) -> Any:
    """Return images as `hpa.tta.view` does."""
    turned = keras.ops.rot90(images, turns, axes=(1, 2)) if turns else images
    return keras.ops.flip(turned, axis=2) if mirrored else turned


def _mean(outputs: Sequence[Any], tta: TTA, task: Task) -> Any:
    """Return the mean of probabilities over views as `hpa.tta` does."""
    if len(outputs) == 1:
        return outputs[0]
    if tta.average == "probabilities":
        return sum(outputs[1:], outputs[0]) / len(outputs)
    clipped = [keras.ops.clip(each, EPSILON, 1 - EPSILON) for each in outputs]
    logits = [keras.ops.log(each) - (0 if task.kind.exclusive else keras.ops.log(1 - each)) for each in clipped]
    mean = sum(logits[1:], logits[0]) / len(logits)
    return keras.ops.softmax(mean) if task.kind.exclusive else keras.ops.sigmoid(mean)


def _require_equal(network: keras.Model, path: Path) -> None:
    """Raise Failure unless ONNX Runtime gives Keras' probabilities, for batches of one and of three images."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    size = int(network.input.shape[1])
    images = np.random.default_rng(0).integers(0, 256, (3, *network.input.shape[1:]), np.uint8)
    images[1] //= 8  # a dark one, and one of patches
    images[2] = images[2].repeat(8, axis=0).repeat(8, axis=1)[:size, :size]
    for batch in (images, images[:1]):
        found = session.run(None, {session.get_inputs()[0].name: batch})[0]
        difference = float(np.abs(found - np.asarray(network.predict_on_batch(batch))).max())
        if not difference <= TOLERANCE:
            raise Failure(f"{path.name}: ONNX Runtime differs from Keras by {difference:.1g}; choose another format")


def _words(chosen: Chosen, about: dict[str, Any]) -> str:
    count = len(chosen.members)
    return f"{count} network{'s' if count > 1 else ''}, {len(about['classes'])} classes, {about['size']} pixels"


def _first_line(file: Path) -> bytes:
    return file.read_bytes().partition(b"\n")[0].rstrip()
