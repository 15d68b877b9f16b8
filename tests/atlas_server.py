"""The Human Protein Atlas on this machine: colour JPEGs by path, and what may go wrong with each."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

PAINTS = {"red": (0, 0, 1), "green": (0, 1, 0), "blue": (1, 0, 0), "yellow": (0, 1, 1)}  # blue, green, red


def colour_jpeg(grey, colour):
    """The JPEG, best quality, in which a grey image uint8 [H, W] is painted in a colour."""
    painted = np.multiply.outer(grey, PAINTS[colour]).astype(np.uint8)
    return cv2.imencode(".jpg", painted, [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111])[
        1
    ].tobytes()


def field(path, side=64):
    """A smooth grey image, uint8 [side, side], that is another one for every path."""
    random = np.random.default_rng(list(path.encode()))
    return cv2.resize(random.integers(20, 220, (8, 8), np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)


class Atlas(ThreadingHTTPServer):
    """Serves a field for every path that ends in `_<colour>.jpg`.

    `faults` maps a path to a list of what goes wrong at its first requests, one after the other: an HTTP status, `"cut"`
    (the connection is closed in the middle of the answer), `"short"` (half a JPEG that passes for a whole answer), `"page"`
    (a web page answers), a number of seconds as a float, after which all is well, or a function that answers itself, given
    the handler and the JPEG. `requests` has the paths asked for.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.requests, self.times, self.headers = {}, [], [], {}
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/images"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        with self.server.lock:
            self.server.requests.append(self.path)
            self.server.times.append(time.monotonic())
            faults = self.server.faults.get(self.path)
            fault = faults.pop(0) if faults else None
        if isinstance(fault, int):
            self.send_response(fault)
            for header, value in self.server.headers.items():
                self.send_header(header, value)
            self.end_headers()
            return
        if isinstance(fault, float):
            time.sleep(fault)
        body = colour_jpeg(field(self.path), self.path.removesuffix(".jpg").rsplit("_", 1)[1])
        length = len(body)
        if callable(fault):
            with contextlib.suppress(OSError):  # the client may have seen enough
                fault(self, body)
            return
        if fault == "page":
            body = b"<html>Please log in to the hotel</html>"
            length = len(body)
        elif fault == "short":
            length = len(body) // 2
            body = body[:length]
        elif fault == "cut":
            body = body[: length // 2]
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client may have lost patience
            self.wfile.write(body)
