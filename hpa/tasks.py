"""What is classified: the classes, the channels, how a sample's files are named, and the kind of labels."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hpa.errors import BadInput, closest, refuse
from hpa.labels import LABELS, Labels


@dataclass(frozen=True)
class Task:
    """A classification task.

    Attributes:
        name: short name, written into stores and run folders.
        classes: class names; a class number is an index into them.
        channels: channel names in the order of the last image axis.
        suffixes: for each channel what follows the id in the name of its file, before the extension; or what stands for
            `{channel}` in `files`.
        labels: a key of `LABELS`: `"one"` class for each sample or `"many"`.
        colours: for each channel what people see it in, `#rrggbb`; none for colours by the channels' names. No part of what
            a network learns, so tasks that differ in them alone are the same.
        files: pattern of the files' names, see `hpa.data.layout`; "" for `<id><suffix>` and any extension. Without
            `{channel}` one file holds all channels.
        axes: letters of the axes of an array in a file, such as "CYX"; "" for what the file says.
        plane: what is taken of a stack of planes: `"maximum"` or the number of one, from 1; "" if there is one.
        grey: `"brightest"` to take that channel of a colour file whose colour is an artefact; "" to raise.
        fit: how images that are not square become square: one of `FITS`; "" for stretching them with a warning.
        pixel_size: micrometres that a pixel of the network's images has; 0 for images that are fitted to its size.
    """

    name: str
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    suffixes: tuple[str, ...]
    labels: str
    colours: tuple[str, ...] = field(default=(), compare=False)
    files: str = ""
    axes: str = ""
    plane: str | int = ""
    grey: str = ""
    fit: str = ""
    pixel_size: float = 0.0

    @classmethod
    def read(cls, path: str | Path) -> Task:
        """Read a task from a TOML file, see `read_task`."""
        return read_task(Path(path))

    @property
    def kind(self) -> Labels:
        """What follows from `labels`: output, loss, scores and so on."""
        return LABELS[self.labels]

    @property
    def reading(self) -> dict[str, str | int | float]:
        """The keys of `READING` that say how files become images; none if each channel is a grey file of one image."""
        return {key: value for key in READING if (value := getattr(self, key))}


HPA = Task(
    name="hpa",
    classes=(
        "Nucleoplasm", "Nuclear membrane", "Nucleoli", "Nucleoli fibrillar center", "Nuclear speckles", "Nuclear bodies",
        "Endoplasmic reticulum", "Golgi apparatus", "Peroxisomes", "Endosomes", "Lysosomes", "Intermediate filaments",
        "Actin filaments", "Focal adhesion sites", "Microtubules", "Microtubule ends", "Cytokinetic bridge",
        "Mitotic spindle", "Microtubule organizing center", "Centrosome", "Lipid droplets", "Plasma membrane",
        "Cell junctions", "Mitochondria", "Aggresome", "Cytosol", "Cytoplasmic bodies", "Rods & rings",
    ),
    channels=("red", "green", "blue", "yellow"),
    suffixes=("_red", "_green", "_blue", "_yellow"),
    labels="many",
)  # fmt: skip
HEP2 = Task(
    name="hep2",
    classes=("Centromere", "Golgi", "Homogeneous", "NuMem", "Nucleolar", "Speckled"),
    channels=("grey",),
    suffixes=("",),
    labels="one",
)

TASKS = {task.name: task for task in (HPA, HEP2)}
FITS = ("stretch", "pad", "crop")
MAXIMUM, BRIGHTEST = "maximum", "brightest"
LISTS = ("classes", "channels", "suffixes", "colours")
READING = {"files": (str,), "axes": (str,), "plane": (str, int), "grey": (str,), "fit": (str,), "pixel_size": (float, int)}
KEYS: dict[str, tuple[type[Any], ...]] = {"name": (str,), "labels": (str,)} | dict.fromkeys(LISTS, (list,)) | READING
OPTIONAL = ("colours", *READING)
KINDS = {str: "text", int: "whole number", float: "number", list: "list of texts"}
FIELD = re.compile(r"\{([a-z_]+)\}")


def read_task(path: Path) -> Task:
    """Read a user's own task from a TOML file.

    Its keys are `classes` (a list of names), `channels` (a list of names in the order of the image's last axis), `labels`
    ("one" or "many") and, where they differ from the file's name and from `_<channel>`, `name` and `suffixes`. `colours`,
    `#rrggbb` for each channel, are for pictures. `files` and the others of `READING` say how images are read, see `Task`.

    Raises:
        BadInput: naming every key that is missing, unknown or holds something else than it should.
    """
    try:
        found = tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))  # editors on Windows write a byte order mark
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); a task is {', '.join(TASKS)} or such a file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path}: not a TOML file ({error})") from error
    refuse(path, _key_faults(found))
    suffixes = [each if found.get("files") else f"_{each}" for each in found["channels"]]
    return make_task(path, {"name": Path(path).stem, "suffixes": suffixes} | found)


def make_task(where: Path, values: dict[str, Any], words: str = "{}") -> Task:
    """Return the task of some fields, as TOML or JSON has them.

    Raises:
        BadInput: naming the file `where`, and in some `words` every field that is missing, unknown or faulty.
    """
    faults = _key_faults(values) or [f"no key {key}" for key in KEYS if key not in values and key not in OPTIONAL]
    refuse(where, [words.format(fault) for fault in faults])
    fields: dict[str, Any] = {key: tuple(each) if isinstance(each, list) else each for key, each in values.items()}
    task = Task(**fields)
    refuse(where, [words.format(fault) for fault in _task_faults(task)])
    return task


def _key_faults(found: dict[str, Any]) -> list[str]:
    faults = [f"unknown key {key}; {closest(key, KEYS, 'the keys are')}" for key in found.keys() - KEYS.keys()]
    faults += [f"no key {key}; add it" for key in ("labels", "classes", "channels") if key not in found]
    for key, kinds in KEYS.items():
        value = found.get(key, kinds[0]())
        texts = not isinstance(value, list) or all(isinstance(each, str) for each in value)
        if not isinstance(value, kinds) or isinstance(value, bool) or not texts:
            faults.append(f"{key} must be a {' or a '.join(KINDS[kind] for kind in kinds)}, found {value!r}")
    return sorted(faults)


def _task_faults(task: Task) -> list[str]:
    faults = []
    if not task.name or not task.name.replace("-", "").replace("_", "").isalnum():
        faults.append(f"name '{task.name}' must consist of letters, digits, - and _")
    if task.labels not in LABELS:
        faults.append(f"labels is '{task.labels}'; it is {' or '.join(LABELS)}")
    if len(task.classes) < 2:
        faults.append(f"classes has {len(task.classes)} names; there are at least two")
    if not task.channels:
        faults.append("channels is empty; name at least one")
    if len(task.suffixes) != len(task.channels):
        faults.append(f"{len(task.suffixes)} suffixes for {len(task.channels)} channels; give one for each")
    if task.colours and len(task.colours) != len(task.channels):
        faults.append(f"{len(task.colours)} colours for {len(task.channels)} channels; give one for each, or none")
    unread = [each for each in task.colours if not re.fullmatch("#[0-9a-fA-F]{6}", each)]
    faults += [f"colours holds '{each}'; a colour is # and six digits, such as #0000ff for blue" for each in unread]
    faults += _reading_faults(task)
    for key in ("classes", "channels", "suffixes"):
        names = getattr(task, key)
        reason = "cannot be read from tables and class folders" if key == "classes" else "cannot be part of a file's name"
        faults += [f"{key} names '{name}' twice" for name in dict.fromkeys(names) if names.count(name) > 1]
        faults += [
            f"{key} holds '{name}', which {reason}"
            for name in names
            if set(name) & set("/\\\0|")
            or (key != "suffixes" and (not name or name != name.strip()))
            or (key == "classes" and name.startswith("."))  # hidden folders are passed over
        ]
    for number, name in enumerate(task.classes):
        if name.isdecimal() and name != str(number):
            faults.append(f"class {number} is called '{name}', which tables would take for a class number")
    return faults


def _reading_faults(task: Task) -> list[str]:
    """Say what is wrong with the keys that say how images are read."""
    faults = _pattern_faults(task.files) if task.files else []
    if task.axes and (len(set(task.axes)) < len(task.axes) or not set("YX") <= set(task.axes) <= set("CZYX")):
        faults.append(f"axes is '{task.axes}'; it has Y and X and maybe C and Z, each once, such as CYX")
    if not (task.plane in ("", MAXIMUM) or (isinstance(task.plane, int) and task.plane > 0)):
        faults.append(f'plane is {task.plane!r}; it is "{MAXIMUM}" or the number of a plane, from 1')
    if task.grey not in ("", BRIGHTEST):
        faults.append(f"grey is '{task.grey}'; it is {BRIGHTEST}, or left out")
    if task.fit not in ("", *FITS):
        faults.append(f"fit is '{task.fit}'; it is {', '.join(FITS[:-1])} or {FITS[-1]}")
    if not 0 <= task.pixel_size <= 1000:
        faults.append(f"pixel_size is {task.pixel_size}; it is a number of micrometres, above 0 and at most 1000")
    if task.pixel_size and task.fit:
        faults.append("pixel_size and fit exclude each other: with a pixel size the middle of an image is cut or padded")
    return faults


def _pattern_faults(pattern: str) -> list[str]:
    """Say what is wrong with a pattern of files' names."""
    fields, rest = FIELD.findall(pattern), FIELD.sub("", pattern)
    faults = [f"has the field {{{name}}} twice" for name in dict.fromkeys(fields) if fields.count(name) > 1]
    if set(fields) <= {"channel"}:
        faults.append("has no field that makes an id; write {id} where it stands")
    if set(rest) & set("{}/\\\0"):
        faults.append("holds { or } around something else than small letters and _, or a / between folders")
    if re.search(r"\}\{|\{(?!channel\})[a-z_]+\}\*|\*\{(?!channel\})|\*\*", pattern):
        faults.append("has fields without a letter between them, so that it is not clear where one ends")
    if not re.search(r"[^.]\.([A-Za-z0-9]+|\*)$", pattern):
        faults.append("does not end in an extension; end it in one such as .tif, or in .*")
    return [f"files '{pattern}' {fault}" for fault in faults]
