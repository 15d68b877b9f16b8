"""A page that classifies images in a browser: one HTML file with the network, and ONNX Runtime Web to run it.

Neither comes with hpa: the runtime is an npm package, which is fetched once and kept in the user's cache. Its version and
checksum are fixed here, so every page has the same one.
"""

import base64
import gzip
import hashlib
import json
import logging
import os
import tarfile
from http.client import HTTPException
from importlib.resources import files as resources
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import Request

from jinja2 import Environment

from hpa.data.pictures import colours
from hpa.data.web import opener
from hpa.errors import BadInput, Failure, refuse
from hpa.files import written_whole
from hpa.tasks import Task

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web-{VERSION}.tgz"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
PARTS = {"runtime": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}  # what of it the page holds
FETCH = f"npm pack onnxruntime-web@{VERSION}"

logger = logging.getLogger(__name__)


def read_runtime(file: Path | None = None) -> dict[str, bytes]:
    """Return the parts of ONNX Runtime Web that a page needs, by the keys of `PARTS`.

    Args:
        file: the npm package; None for the one in the cache, where it is fetched to if it is not there. The registry is
            npm's own, or that of the environment variable `NPM_CONFIG_REGISTRY`.

    Raises:
        BadInput: if the file is not the package of this version.
        Failure: if it is not there and cannot be fetched.
    """
    own = file or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpa" / PACKAGE
    if file is None and not own.exists():
        _fetch(own)
    try:
        data = own.read_bytes()
    except OSError as error:
        raise BadInput(f"runtime {own}: cannot be read ({error.strerror}); {FETCH} fetches it", "runtime") from error
    _require_package(own, data)
    with tarfile.open(fileobj=BytesIO(data)) as package:
        return {name: package.extractfile(f"package/dist/{part}").read() for name, part in PARTS.items()}  # type: ignore[union-attr]


def _fetch(path: Path) -> None:
    registry = os.environ.get("NPM_CONFIG_REGISTRY") or "https://registry.npmjs.org"
    address = f"{registry.rstrip('/')}/onnxruntime-web/-/{PACKAGE}"
    logger.info("fetching %s, 33 MB, once", address)
    try:
        with opener().open(Request(address), timeout=30) as answer:
            data = answer.read()
    except (OSError, HTTPException) as error:
        fix = f"connect to the network once, or fetch it elsewhere ({FETCH}) and name the file with --runtime"
        raise Failure(f"{address}: cannot be fetched ({error}); {fix}") from error
    _require_package(Path(address), data)
    with written_whole(path) as temporary:
        temporary.write_bytes(data)


def _require_package(path: Path, data: bytes) -> None:
    if f"sha512-{base64.b64encode(hashlib.sha512(data).digest()).decode()}" != INTEGRITY:
        raise BadInput(f"runtime {path}: is not {PACKAGE} as npm has it; delete it, and fetch that one ({FETCH})", "runtime")


def require_readable(task: Task) -> None:
    """Raise BadInput if the files of a task are read in ways that the page does not know."""
    fix = "the page reads grey files by suffix, or one file with all channels; choose another format"
    unknown = [f"the task {task.name} has {key} = {value!r}" for key, value in task.reading.items() if key != "fit"]
    refuse("format html", [f"{each}; {fix}" for each in unknown], "format")


def page_of(about: dict[str, Any], task: Task, packed: dict[str, bytes], words: str) -> str:
    """Return the page, HTML that loads nothing.

    Args:
        about: the metadata of the model, see `hpa.inference.export.metadata`.
        task: what is classified; its colours are those of the pictures.
        packed: the model, and the parts of the runtime.
        words: what the model is.
    """
    here = resources("hpa.inference") / "take_away"
    data = json.dumps(about | {"single": task.kind.exclusive, "colours": colours(task)}, allow_nan=False).replace(
        "<", "\\u003c"
    )
    script = "".join((here / name).read_text(encoding="utf-8") for name in ("decode.js", "classifier.js"))
    encoded = {name: base64.b64encode(gzip.compress(each, mtime=0)).decode() for name, each in packed.items()}
    template = Environment(autoescape=True).from_string((here / "classifier.html").read_text(encoding="utf-8"))
    return template.render(about=about, data=data, packed=encoded, script=script, words=words, version=VERSION)
