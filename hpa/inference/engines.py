"""What computes a network's predictions: Keras, or ONNX Runtime or OpenVINO, which are often faster on a CPU."""

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpa.errors import installing, refuse
from hpa.files import cores

if TYPE_CHECKING:  # commands import this module for their options
    import keras
    import numpy as np

# Each with the packages that it needs, and the extra of hpa that installs them.
ENGINES: dict[str, tuple[tuple[str, ...], str]] = {
    "keras": ((), ""),
    "onnxruntime": (("onnx", "onnxruntime", "tf2onnx"), "export"),
    "openvino": (("onnx", "openvino", "tf2onnx"), "openvino"),
}


@dataclass(frozen=True)
class Converted:
    """A network that another library than Keras computes.

    Attributes:
        run: function of images, uint8 [B, S, S, C], to a list of the outputs, float32 [B, outputs].
    """

    run: Callable[["np.ndarray"], Any]

    def predict_on_batch(self, images: "np.ndarray") -> "np.ndarray":
        """Return the outputs for images, uint8 [B, S, S, C], as float32 [B, outputs]."""
        found: np.ndarray = self.run(images)[0]
        return found


def require_engine(engine: str) -> None:
    """Raise BadInput if a package is missing."""
    packages, extra = ENGINES[engine]
    require_packages(packages, engine, extra, "engine")


def require_packages(packages: Sequence[str], what: str, extra: str, setting: str) -> None:
    """Raise BadInput, naming the extra of hpa that installs them, if packages are missing that `what` needs."""
    missing = [name for name in packages if find_spec(name) is None]
    refuse(setting, [f"{what} needs {name}; {installing(extra)}" for name in missing], setting)


def with_engine(model: "keras.Model", engine: str, size: int) -> Any:
    """Return what predicts with `predict_on_batch` as a compiled model does, for images of `size` pixels.

    Other engines than Keras compute in float32 on the CPU, also where the model has another precision.
    """
    require_engine(engine)
    if engine == "keras":
        return model
    import keras
    import numpy as np

    from hpa.models.catalog import in_float32

    images = keras.Input((size, size, model.input.shape[-1]), dtype="uint8", name="images")
    network = keras.Model(images, in_float32(model)(images))
    network.predict_on_batch(np.zeros((1, *images.shape[1:]), np.uint8))
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(network, path := Path(folder) / "model.onnx")
        if engine == "onnxruntime":
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = cores()
            session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
            [given] = session.get_inputs()
            return Converted(lambda batch: session.run(None, {given.name: batch}))
        import openvino

        settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": cores()}
        return Converted(openvino.Core().compile_model(str(path), "CPU", settings))


def write_onnx(network: "keras.Model", path: Path) -> None:
    """Write a network that has been called once."""
    with warnings.catch_warnings(action="ignore", category=FutureWarning), _same_environment():  # both for tf2onnx
        network.export(str(path), format="onnx", verbose=False)


@contextlib.contextmanager
def _same_environment() -> Iterator[None]:
    """Restore the environment after the block: tf2onnx sets TensorFlow's log level for all processes started later."""
    before = dict(os.environ)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
