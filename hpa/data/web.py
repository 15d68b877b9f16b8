"""Requests to web servers that are not trusted: every answer is bounded in size and time.

http.client is used directly. requests and urllib3 bound the wait for the next bytes, but neither all of an answer nor its
headers, so a server that sends a byte now and then would hold them for ever.
"""

import io
import re
import socket
import time
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from typing import Any, NoReturn
from urllib.error import URLError
from urllib.parse import quote, urlsplit
from urllib.request import FTPHandler, HTTPHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from hpa.errors import BadInput

LARGEST = 64 * 2**20  # bytes of an answer; an image has some hundred thousand
DEADLINE = 120  # seconds for all of an answer
GRACE, SLOWEST = 30, 1000  # seconds after which an answer has to come faster than so many bytes a second


def encoded_address(base_url: str) -> str:
    """Return an address in the form that is sent: the host in ASCII (IDNA), the path percent-encoded, without a last slash.

    Raises:
        BadInput: if it is no http or https address, or holds a user name, a query or a fragment.
    """
    fault = "it is not one"
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname or "", parts.port
        host = f"[{ip_address(host)}]" if ":" in host else host.encode("idna").decode()
        path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
        sound = parts.scheme in ("http", "https") and re.fullmatch(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]", host)
        if sound and "@" not in parts.netloc and not parts.query and not parts.fragment:
            return f"{parts.scheme}://{host}{'' if port is None else f':{port}'}{path}"
        if sound:
            fault = "leave out the user name, ? and #"
    except ValueError as error:  # no such port, a label of more than 63 letters, a bracket that is not closed
        fault = str(error)
    expected = f"expected an address such as http://v18.proteinatlas.org/images ({fault})"
    raise BadInput(f"base_url {base_url}: {expected}", "base_url")


class _TimedBytes(io.RawIOBase):
    """What comes through a socket; raises TimeoutError if it comes too slowly."""

    def __init__(self, source: io.RawIOBase, socket: socket.socket) -> None:
        self.source, self.socket, self.timeout = source, socket, socket.gettimeout() or DEADLINE
        self.start, self.received = time.monotonic(), 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # a BufferedReader asks with nothing else
        elapsed = time.monotonic() - self.start
        if elapsed >= DEADLINE or self.received < SLOWEST * (elapsed - GRACE):
            raise TimeoutError(f"only {self.received} bytes came in {elapsed:.0f} s")
        self.socket.settimeout(min(self.timeout, DEADLINE - elapsed))
        count = self.source.readinto(buffer) or 0
        self.received += count
        return count

    def close(self) -> None:
        self.source.close()
        super().close()


class _Answer(HTTPResponse):
    """An answer that is bounded in time and size, also that of a redirection."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp = io.BufferedReader(_TimedBytes(self.fp.detach(), sock))

    def read(self, amt: int | None = None) -> bytes:
        return super().read(LARGEST + 1 if amt is None else amt)


class _Connection(HTTPConnection):
    response_class = _Answer


class _SecureConnection(HTTPSConnection):
    response_class = _Answer


class _Handler(HTTPHandler, HTTPSHandler, FTPHandler):
    def http_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_Connection, request)

    def https_open(self, request: Request) -> HTTPResponse:
        return self.do_open(_SecureConnection, request)

    def ftp_open(self, request: Request) -> NoReturn:
        raise URLError("unknown url type: ftp")


def opener() -> OpenerDirector:
    """Return an opener of http and https addresses alone; urllib's own would follow a redirection to `ftp:` too."""
    return build_opener(_Handler)
