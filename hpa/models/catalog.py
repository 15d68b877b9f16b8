"""The networks by name, new and saved."""

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

from hpa.errors import BadInput
from hpa.files import require_plain, written_whole
from hpa.models.normalization import BatchNormalization
from hpa.registry import NETWORKS, require_network

DATE = "1980-01-01@00:00:00"  # of every network that is saved, in the form that Keras has


def build(model: str, size: int, channels: int, classes: int, output: str = "sigmoid", **arguments: object) -> keras.Model:
    """Return a new, uncompiled network; see `hpa.registry.Network` for the arguments.

    `model` is a name in `NETWORKS`, and `arguments` are those that its record lists, such as `variant=0`.

    Raises:
        BadInput: if the network does not take such images, or the weights do not fit.
    """
    variant = arguments.get("variant")
    require_network(model, variant if isinstance(variant, int) else None, size, channels)
    return NETWORKS[model].build(size, channels, classes, output, **arguments)


def load(path: Path, compile: bool = False, shape: tuple[int, int, int] | None = None) -> keras.Model:
    """Return a saved network, compiled as it was saved if asked for.

    `shape` is the side and the channels of the images and the number of classes that it must be for; None for any.

    Raises:
        BadInput: if the file cannot be read, is damaged, or holds no network or one of another shape.
    """
    require_plain(path)
    try:
        zipfile.ZipFile(path).close()  # Keras says of a file that is no archive that it is absent
        model = keras.saving.load_model(path, compile=compile)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); train the run, or restore the file") from error
    except MemoryError:
        raise
    except Exception as error:  # damaged and hostile files raise errors of many kinds in Keras
        line = (str(error).splitlines() or [""])[0].partition("Full object config:")[0].strip() or type(error).__name__
        raise BadInput(f"{path}: damaged ({line}); delete the run folder and train it again") from error
    if shape:
        _require_shape(model, path, shape)
    return model


def _require_shape(model: object, path: Path, shape: tuple[int, int, int]) -> None:
    """Raise BadInput unless a model takes one batch of such images and returns one row of probabilities for each of them."""
    size, channels, classes = shape
    wanted = (size, size, channels)
    inputs, outputs = ([tuple(each.shape) for each in getattr(model, name, None) or ()] for name in ("inputs", "outputs"))
    fits = isinstance(model, keras.Model) and len(inputs) == len(outputs) == 1 and len(inputs[0]) == 4
    fits = fits and all(own in (None, side) for own, side in zip(inputs[0][1:], wanted, strict=True))
    if not fits or outputs[0] != (None, classes):
        found = f"from {', '.join(map(str, inputs)) or 'nothing'} to {', '.join(map(str, outputs)) or 'nothing'}"
        raise BadInput(
            f"{path}: not the model of this run, which goes from {(None, *wanted)} to {(None, classes)}; this one goes "
            f"{found}. Restore the files of the run folder, or delete it and train again"
        )


def save(model: keras.Model, path: Path) -> None:
    """Write a network that plain Keras loads: without optimizer, loss, metrics and this package's layers for training.

    Equal networks give equal bytes.
    """
    network = keras.Model(model.input, model.output, name=model.name)  # of the same layers, and not compiled
    with written_whole(path) as temporary:
        network.save(temporary)
        with zipfile.ZipFile(temporary) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        contents["metadata.json"] = json.dumps(json.loads(contents["metadata.json"]) | {"date_saved": DATE}).encode()
        contents["config.json"] = json.dumps(json.loads(contents["config.json"], object_hook=_plain)).encode()
        with zipfile.ZipFile(temporary, "w") as archive:
            for name, content in contents.items():
                archive.writestr(zipfile.ZipInfo(name), content)  # dated 1980, too


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    """Return a part of a network's configuration with Keras' own layers, without memory addresses of shared formats."""
    if config.get("class_name") == "DTypePolicy":
        config.pop("shared_object_id", None)
    if config.get("registered_name") == keras.saving.get_registered_name(BatchNormalization):
        config |= {"module": "keras.layers", "registered_name": None}
    return config


def to_train(model: keras.Model, name: str) -> keras.Model:
    """Return a network that `load` gave back with the layers that `build` gave it, `name` being as there."""
    if not NETWORKS[name].fused:
        return model

    def layer_to_train(layer: keras.Layer) -> keras.Layer:
        of_images = isinstance(layer, keras.layers.BatchNormalization) and len(layer.output.shape) == 4
        return (BatchNormalization if of_images else type(layer)).from_config(layer.get_config())

    network = keras.models.clone_model(model, clone_function=layer_to_train)
    network.set_weights(model.get_weights())
    return network


def in_float32(model: keras.Model) -> keras.Model:
    """Return a network with the same weights that computes in float32, as exports and exact maps need."""
    if all(layer.compute_dtype == "float32" for layer in model.layers if layer.weights):
        return model

    def layer_in_float32(layer: keras.Layer) -> keras.Layer:
        return type(layer).from_config(layer.get_config() | {"dtype": "float32"})

    network = keras.models.clone_model(model, clone_function=layer_in_float32)
    network.set_weights(model.get_weights())
    return network
