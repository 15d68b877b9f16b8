"""Fetch public images of the Human Protein Atlas: colour JPEGs in, grey PNGs in the competition's layout out.

The image of one colour of the sample `<antibody>_<plate>_<well>_<field>` lies at
`<base>/<number of the antibody>/<plate>_<well>_<field>_<colour>.jpg`.
"""

import re
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from http.client import HTTPException
from pathlib import Path
from typing import TextIO
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import OpenerDirector, Request

import cv2
import numpy as np
import pandas as pd
from tqdm import tqdm

import hpa
from hpa.data.decoding import decode_jpeg
from hpa.data.images import write_image
from hpa.data.layout import EXTERNAL
from hpa.data.parallel import map_in_threads
from hpa.data.tables import SampleTable, concatenate, read_training_table
from hpa.data.web import LARGEST, encoded_address, opener
from hpa.errors import BadInput, Failure, refuse
from hpa.files import file_digest, locked, write_csv, write_text
from hpa.tasks import HPA

# What of the blue, green and red in a JPEG makes the grey image of a colour.
PARTS = {"red": (0, 0, 1), "green": (0, 1, 0), "blue": (1, 0, 0), "yellow": (0, 0.5, 0.5)}
CHECKSUMS = "SHA256SUMS"  # in the format of sha256sum, which can check it: sha256sum -c SHA256SUMS

CONNECTIONS = 8  # a server may take seconds for an image; the rate, not their number, says how much it is asked
TIMEOUT = 30  # seconds in which nothing comes
TRIES = 5
FIRST_PAUSE = 1.0  # seconds before the second try; doubled for each one after it
LONGEST_PAUSE = 120.0  # seconds, whatever the server asks for
PASSING = (408, 429, 500, 502, 503, 504)  # HTTP answers that may be another one later
LONGEST_REASON = 300  # letters of what a server says
LONGEST_NAME = 255  # bytes of a file's name
ROW_OF_FAILURES = 40  # more than any antibody has images: after so many in a row it is not they that are missing


class _Unavailable(Exception):
    """An image that cannot be fetched, and why."""


def download(table: SampleTable, data: Path, base_url: str, rate: float, size: int) -> dict[str, str]:
    """Fetch what is missing of the images of a table into `<data>/external/`, and write its labels next to them.

    Every image is written whole and its checksum after it. Those that agree with their checksums are not fetched again. At
    the end, also of an interrupted download, `<data>/external.csv` has the rows of which all colours are there: those that
    it had, then the table's. `<data>/external-failed.csv` has the ids that failed, with the reason, which are returned too.
    `base_url` is where the folders of the antibodies lie, `rate` the most requests a second, and `size` the side in pixels
    to which larger images are shrunk.

    Raises:
        BadInput: before anything is written, naming every id of another form; for a base that is no web address; or if
            there is an `external.csv` that is faulty, or without checksums, so that it was not written here, or images that
            were fetched with another size.
        Failure: if another process downloads into the folder, or 40 samples in a row failed.
    """
    paths = _paths(table.ids.tolist())
    base_url = encoded_address(base_url)
    paths = {identifier: f"{base_url}/{path}" for identifier, path in paths.items()}
    folder, labels = data / EXTERNAL, data / f"{EXTERNAL}.csv"
    failed: dict[str, str] = {}
    if labels.exists() and not (folder / CHECKSUMS).exists():
        raise BadInput(f"{labels}: is not of this command, which would replace it; move it away and name it as the table")
    noted = folder / ".size"
    earlier_size = noted.read_text(errors="replace").strip() if noted.exists() else str(size)
    if earlier_size != str(size):
        raise BadInput(f"{folder}: holds images of size {earlier_size}; ask for that, or move the folder away")
    with locked(folder / ".lock", wait=False):
        earlier = read_training_table(labels, HPA) if labels.exists() else None
        write_text(noted, f"{size}\n")
        there = _check(folder)
        try:
            with open(folder / CHECKSUMS, "a", encoding="utf-8") as checksums:
                _fetch_all(paths, folder, rate, size, there, checksums, failed)
        finally:
            _write_labels(labels, table, earlier, there)
            write_csv(data / f"{EXTERNAL}-failed.csv", pd.DataFrame(failed.items(), columns=["Id", "reason"]))
    return failed


def grey_image(body: bytes, colour: str, size: int) -> np.ndarray | None:
    """Return the grey image that a JPEG of one colour shows, uint8 [H, W] of at most `size` pixels; None if it is not whole.

    A grey JPEG is not converted. Yellow is the mean of red and green.
    """
    try:
        image = decode_jpeg(body)
    except (ValueError, IndexError):
        return None
    if image.ndim == 3:
        image = cv2.transform(image, np.array([PARTS[colour]], np.float32))
    if max(image.shape) > size:
        height, width = (max(1, round(side * size / max(image.shape))) for side in image.shape)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return image


def _paths(ids: list[str]) -> dict[str, str]:
    """Return for every id its path below the base, without colour and suffix."""
    found = {each: re.fullmatch(r"[A-Za-z]*0*([0-9]+)_([^_]+_[^_]+_.+)", each) for each in ids}
    unsound = [each for each, match in found.items() if not match]
    refuse("table", [f"id {each} is not of the form <antibody>_<plate>_<well>_<field>" for each in unsound], "table")
    long = [each for each in ids if len(f"{each}_yellow.png".encode()) > LONGEST_NAME]
    refuse("table", [f"id {each} is too long for a file's name; leave it out" for each in long], "table")
    return {each: f"{match[1]}/{quote(match[2])}" for each, match in found.items() if match}


def _check(folder: Path) -> set[str]:
    """Return the names of the images that are there and agree with their checksums, and keep the lines of those alone."""
    path = folder / CHECKSUMS
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []
    digest_of = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    there = [name for name in digest_of if (folder / name).is_file()]
    found = map_in_threads(lambda name: file_digest(folder / name), there, "checking")
    whole = {name: now for name, now in zip(there, found, strict=True) if now == digest_of[name]}
    write_text(path, "".join(f"{digest}  {name}\n" for name, digest in whole.items()))
    return set(whole)


def _fetch_all(
    paths: dict[str, str], folder: Path, rate: float, size: int, there: set[str], checksums: TextIO, failed: dict[str, str]
) -> None:
    """Fetch all colours of all samples; add the names of the images to `there` and the reasons of failures to `failed`."""
    stop, writing = threading.Event(), threading.Lock()
    pause, server = _pacer(rate, stop), opener()

    def fetch_sample(identifier: str) -> None:
        for colour in HPA.channels:
            name = f"{identifier}_{colour}.png"
            if name not in there:
                image = _fetch(f"{paths[identifier]}_{colour}.jpg", colour, size, server, pause, stop)
                write_image(folder / name, image)
                with writing:
                    checksums.write(f"{file_digest(folder / name)}  {name}\n")
                    checksums.flush()
                    there.add(name)

    missing = [each for each in paths if not all(f"{each}_{colour}.png" in there for colour in HPA.channels)]
    in_a_row = 0
    with (
        ThreadPoolExecutor(CONNECTIONS) as pool,
        tqdm(total=len(paths), initial=len(paths) - len(missing), unit="sample", desc="fetching", disable=None) as bar,
    ):
        jobs = {pool.submit(fetch_sample, identifier): identifier for identifier in missing}
        try:
            for job in as_completed(jobs):
                bar.update()
                try:
                    job.result()
                except _Unavailable as error:
                    failed[jobs[job]] = str(error)
                    in_a_row += 1
                else:
                    in_a_row = 0
                if in_a_row == ROW_OF_FAILURES:
                    raise Failure(
                        f"{in_a_row} samples in a row failed, the last one because of {failed[jobs[job]]}; "
                        "check the address and the connection, then do the same again: it goes on where it stopped"
                    )
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise


def _fetch(
    url: str, colour: str, size: int, server: OpenerDirector, pause: Callable[[], None], stop: threading.Event
) -> np.ndarray:
    """Return the grey image that the JPEG at a URL shows; try again what may go better the next time."""
    for attempt in range(TRIES):
        asked, request = 0.0, Request(url, headers={"User-Agent": f"hpa/{hpa.__version__}"})  # one counts its redirections
        pause()
        try:
            with server.open(request, timeout=TIMEOUT) as answer:
                body = answer.read()
            if len(body) > LARGEST:
                reason = f"the answer is larger than {LARGEST // 2**20} MiB"
                break
            image = grey_image(body, colour, size)
            if image is not None:
                return image
            reason = "what came is not a whole JPEG"
        except HTTPError as error:
            with error:
                reason = f"HTTP {error.code} {error.reason}"
                if error.code not in PASSING:
                    break
                after = error.headers.get("Retry-After", "")
                asked = float(after) if after.isdecimal() else 0.0
        except (OSError, HTTPException) as error:
            reason = f"{type(error).__name__} {error}"
        except ValueError as error:  # a redirection to what is no address
            reason = f"{type(error).__name__} {error}"
            break
        if attempt < TRIES - 1:
            stop.wait(min(max(asked, FIRST_PAUSE * 2**attempt), LONGEST_PAUSE))
    reason = "".join(letter if letter.isprintable() else " " for letter in reason)  # servers may say anything
    raise _Unavailable(f"{url}: {' '.join(reason.split())[:LONGEST_REASON]}")


def _pacer(rate: float, stop: threading.Event) -> Callable[[], None]:
    """Return a function that returns `rate` times a second at most, and raises once `stop` is set."""
    lock = threading.Lock()
    free_at = time.monotonic()

    def pause() -> None:
        nonlocal free_at
        with lock:
            now = time.monotonic()
            start = max(now, free_at)
            free_at = start + 1 / rate
        if stop.wait(min(start - now, threading.TIMEOUT_MAX)):
            raise _Unavailable("stopped")

    return pause


def _write_labels(path: Path, table: SampleTable, earlier: SampleTable | None, there: set[str]) -> None:
    if earlier:
        table = concatenate([earlier.at(~np.isin(earlier.ids, table.ids)), table])
    whole = [all(f"{each}_{colour}.png" in there for colour in HPA.channels) for each in table.ids.tolist()]
    if any(whole):
        labels = [" ".join(map(str, np.flatnonzero(row))) for row in table.known_targets[whole]]
        write_csv(path, pd.DataFrame({"Id": table.ids[whole], "Target": labels}))
