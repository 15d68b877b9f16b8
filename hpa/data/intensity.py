"""The intensity range of a data set: which numbers of its 16-bit files are black and white, for each channel.

Cameras of 12 bits fill a sixteenth of what a 16-bit file can hold. So the range is measured once over the training set, and
scales all images that a run sees. 8-bit files are never scaled.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpa.data.images import FULL, Interval, read_sample
from hpa.data.layout import find_files, say_once, stamp
from hpa.data.parallel import map_in_threads
from hpa.data.stacks import SAME_SIZE
from hpa.errors import BadInput, first_of, refuse
from hpa.files import locked, read_json, write_json
from hpa.tasks import TASKS, Task

Ranges = tuple[Interval | None, ...]

LOWEST, HIGHEST = 0.0001, 0.9999  # shares of all pixels below black and below white
DIM = 0.25  # of the range; a warning says if the brightest pixel of a set is below


def range_of_training_set(data: Path, ids: np.ndarray, task: Task, runs: Path) -> Ranges | None:
    """Return the intensity range of the images of `train/`, or None if its first sample that can be read has 8 bits.

    It is measured once and kept in the `stores` folder until a file changes.

    Raises:
        BadInput: if files are missing or cannot be used, or naming those whose bits differ from the first sample's.
    """
    source = data / "train"
    files = find_files(source, ids, task, whole=True)
    if first_bits(files, task) is None:
        return None
    digest = hashlib.sha256(repr([stamp(each) for each in files]).encode()).hexdigest()
    request = {"source": str(source.resolve()), "channels": list(task.channels), "stamps_sha256": digest} | task.reading
    made_of = (request["source"], task.suffixes, *task.reading.values())
    name = hashlib.blake2b(repr(made_of).encode(), digest_size=4).hexdigest()
    kept = runs / "stores" / f"intensity-range-{name}.json"
    with locked(kept.with_name(f".{kept.name}.lock"), wait=True):
        try:
            found = read_json(kept)
            if {**found, "intensity_range": None} == {**request, "intensity_range": None}:
                return tuple(each and (int(each[0]), int(each[1])) for each in found["intensity_range"])
        except (BadInput, KeyError, TypeError, ValueError, IndexError):
            pass  # none yet, or a damaged one: measured again
        ranges = measure(source, files, task)
        write_json(kept, request | {"intensity_range": ranges})
    return ranges


def stated_range(intervals: Sequence[Interval | None], task: Task) -> Ranges:
    """Return the range of each channel from a setting of one interval for all or one for each; BadInput for other counts."""
    channels = len(task.channels)
    if len(intervals) not in (1, channels):
        fault = f"{len(intervals)} intervals for {channels} channels; give one for all, or for each"
        refuse("intensity_range", [fault], "intensity_range")
    return tuple(intervals) * (channels // len(intervals))


def first_bits(files: Sequence[Sequence[Path]], task: Task) -> Ranges | None:
    """Return None if the first sample that can be read has 8 bits, else None or the whole interval for each channel."""
    for sample in files:
        with contextlib.suppress(BadInput):  # packing names all that cannot be read
            bits = tuple(None if channel.dtype == np.uint8 else FULL for channel in read_sample(sample, task).channels)
            return bits if any(bits) else None
    return None


def measure(source: object, files: Sequence[Sequence[Path]], task: Task) -> Ranges | None:
    """Count the numbers of all pixels, on all cores, and return the range that all but the outermost ones lie in.

    That is for each channel the lowest and the highest number, or None for 8 bits; None if all channels have 8 bits. `files`
    has those of each sample, and messages name their `source`.

    Raises:
        BadInput: naming every file that cannot be used or has other bits than the first sample's.
    """
    expected = first_bits(files, task)
    if expected is None:
        return None
    counts = np.zeros((len(expected), 2**16), np.int64)

    def count(sample_files: Sequence[Path]) -> list[np.ndarray | None]:
        sample = read_sample(sample_files, task)
        sample.image(None, expected)  # raises if the bits differ
        return [
            interval and np.bincount(channel.ravel(), minlength=2**16)
            for channel, interval in zip(sample.channels, expected, strict=True)
        ]

    faults: list[str] = []
    for found in map_in_threads(count, files, "measuring the intensity range", faults):
        for channel, counted in enumerate(found or []):
            if counted is not None:
                counts[channel] += counted
    refuse(source, sorted(faults))
    return tuple(interval and _robust_range(counted) for interval, counted in zip(expected, counts, strict=True))


def _robust_range(counts: np.ndarray) -> Interval:
    shares = np.cumsum(counts) / counts.sum()
    low = int(np.searchsorted(shares, LOWEST, side="right"))
    return low, max(int(np.searchsorted(shares, HIGHEST)), low + 1)


def remark(source: Path, names: Sequence[str], facts: np.ndarray, task: Task, ranges: Sequence[Interval | None]) -> None:
    """Log warnings, each once a process: of stretched images, of pixels of several sizes, of a channel that is dim in all.

    `names` has the first file of each sample, `facts` its `Sample.facts`. `ranges` is what each channel is scaled by.
    """
    if not len(facts):
        return
    odd = np.flatnonzero(facts[:, 0] != facts[:, 1])
    if len(odd) and not task.fit and not task.pixel_size:
        fix = "" if task in TASKS.values() else '; state fit = "pad" or "crop" in the task file to keep their shape'
        named = first_of([f"{names[row]} {facts[row, 1]}x{facts[row, 0]}" for row in odd.tolist()])
        say_once(f"{source}: {len(odd)} of {len(facts)} images are not square and are stretched to a square: {named}{fix}")
    sizes = facts[:, 2 + len(task.channels) :] / 1e6
    if sizes.size and not task.pixel_size and sizes.max() > (1 + SAME_SIZE) * sizes.min():
        found = f"{sizes.min():g} to {sizes.max():g}" if sizes.min() else f"unknown in some, up to {sizes.max():g}"
        say_once(f"{source}: the pixels are not of one size, {found} micrometres; state pixel_size = ... in the task file")
    dim, brightness = [], facts[:, 2 : 2 + len(task.channels)].max(axis=0)
    for channel, brightest, interval in zip(task.channels, brightness, ranges, strict=True):
        low, high = interval or (0, 255)
        if brightest < low + DIM * (high - low):
            dim.append(f"{channel} {brightest} in {low}:{high}")
    if dim:
        fix = "state the intensity range when you train" if any(ranges) else "save them brighter, or with 16 bits"
        say_once(f"{source}: the images are dark: the brightest pixel of {', '.join(dim)}; {fix}")
