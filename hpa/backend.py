"""How Keras and its backend are loaded: quietly, and set to what hpa's networks need."""

import contextlib
import faulthandler
import importlib.util
import logging
import os
import random
from collections.abc import Iterator

from hpa.errors import BadInput

BACKENDS = ("tensorflow", "jax", "torch")  # those that Keras trains with
# What the networks need of Keras' configuration. What the user's own keras.json says would change results unseen.
NEEDED = {
    "floatx": "float32",
    "epsilon": 1e-7,
    "image_data_format": "channels_last",
    "max_epochs": None,
    "max_steps_per_epoch": None,
}


@contextlib.contextmanager
def quiet_import() -> Iterator[None]:
    """Import Keras and its backend in this block: without their greetings, and set to what hpa's networks need.

    TensorFlow's native parts write to the file descriptor before they have read any log level. Unless TF_CPP_MIN_LOG_LEVEL
    is set, these messages are not shown.

    Raises:
        BadInput: if KERAS_BACKEND names a backend that Keras cannot train with here.
    """
    with _greetings_hidden():
        yield
    _configure()


@contextlib.contextmanager
def borrowed_keras() -> Iterator[None]:
    """Do the block with Keras as `quiet_import` sets it, then restore what the caller had.

    Restored are Keras' configuration with its number format (dtype policy), the random states of Python and NumPy, and the
    level of TensorFlow's logger. Keras' own seed and its numbering of layers start anew.

    Raises:
        BadInput: as `quiet_import`.
    """
    import numpy as np

    logger = logging.getLogger("tensorflow")
    level, states = logger.level, (random.getstate(), np.random.get_state())  # noqa: NPY002
    with _greetings_hidden():
        import keras
    before = {name: getattr(keras.config, name)() for name in (*NEEDED, "dtype_policy")}
    try:
        _configure()
        keras.config.set_dtype_policy("float32")
        yield
    finally:
        for name, value in before.items():
            getattr(keras.config, f"set_{name}")(value)
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        logger.setLevel(level)


@contextlib.contextmanager
def _greetings_hidden() -> Iterator[None]:
    require_backend(os.environ.setdefault("KERAS_BACKEND", backend()))
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        yield
    else:
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        screen, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        traced = faulthandler.is_enabled()
        if not traced:  # a processor without the instructions of a build kills the process in here
            faulthandler.enable(screen)
        try:
            yield
        finally:
            del os.environ["TF_CPP_MIN_LOG_LEVEL"]  # TensorFlow has read it; started processes shall not inherit it
            if not traced:
                faulthandler.disable()
            os.dup2(screen, 2)
            os.close(screen)
            os.close(nowhere)


def _configure() -> None:
    import keras

    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # several models one after the other count as retracing
    for name, value in NEEDED.items():
        getattr(keras.config, f"set_{name}")(value)


def backend() -> str:
    """Return the name of Keras' backend: what KERAS_BACKEND says, else the first that is installed."""
    installed = (name for name in BACKENDS if importlib.util.find_spec(name))
    return os.environ.get("KERAS_BACKEND") or next(installed, BACKENDS[0])


def require_backend(name: str) -> None:
    """Raise BadInput unless a backend, such as KERAS_BACKEND names, is one that Keras can train with here."""
    if name not in BACKENDS:
        raise BadInput(f"KERAS_BACKEND is {name}; unset it, or set it to one of {', '.join(BACKENDS)}")
    if importlib.util.find_spec(name) is None:
        raise BadInput(f"KERAS_BACKEND is {name}, and {name} is not installed; install it, or unset KERAS_BACKEND")
