"""Kaggle on this machine, for the real client: what it answers to a download and to an upload, and what may go wrong."""

import json
import os
import socket
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "secret-of-the-account"
START, CREATE, INTROSPECT, PUT = "StartSubmissionUpload", "CreateSubmission", "IntrospectToken", "PUT"
DOWNLOAD = "DownloadDataFiles"


class Kaggle(ThreadingHTTPServer):
    """Kaggle as its client sees it, with the storage that takes the file.

    `faults` maps a call to what goes wrong with it: an HTTP status, `"drop"` (the first time the connection is closed in
    the middle of the request), `"cut"` (it is closed in the middle of the answer) or `"page"` (a web page answers).
    `archive` holds the bytes of the competition's data.
    """

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults, self.calls, self.requests, self.uploaded, self.archive = {}, [], {}, None, b""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_PUT(self):
        self.handle_call(PUT)

    def do_POST(self):
        self.handle_call(self.path.rsplit("/", 1)[1])

    def do_GET(self):
        self.answer(200, self.server.archive, "application/zip", **{"Last-Modified": formatdate(usegmt=True)})

    def handle_call(self, call):
        first = call not in self.server.calls
        self.server.calls.append(call)
        fault = self.server.faults.get(call)
        if fault == "drop" and first:
            self.rfile.read(5)
            self.hang_up()
            return
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if isinstance(fault, int):
            self.answer(fault, json.dumps({"code": fault, "message": f"Kaggle's own words\non {fault}"}))
        elif fault == "cut":
            self.answer(200, "{}", missing=10)
            self.hang_up()
        elif fault == "page":
            self.answer(200, "<html>Please log in to the hotel</html>", "text/html")
        elif call == DOWNLOAD:
            self.answer(302, "", Location=f"http://127.0.0.1:{self.server.server_port}/data.zip")
        elif call == PUT:
            self.server.uploaded = body
            self.answer(200, "{}")
        else:
            self.server.requests[call] = json.loads(body)
            self.answer(200, json.dumps(self.answers()[call]))

    def answers(self):
        storage = f"http://127.0.0.1:{self.server.server_port}/upload?upload_id={KEY}"
        return {
            INTROSPECT: {"active": True, "username": "somebody"},
            START: {"token": "token-of-the-file", "createUrl": storage},
            CREATE: {"message": "Successfully submitted", "ref": 4711},
        }

    def answer(self, status, content, kind="application/json", missing=0, **headers):
        body = content if isinstance(content, bytes) else content.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + missing))
        for header, value in headers.items():
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self):
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True


def environment(home, server=None):
    """Return the variables of a user who has no credentials and no way to another machine."""
    proxy = f"http://127.0.0.1:{server.server_port if server else 9}"
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "KAGGLE_CONFIG_DIR": str(home),
        "KAGGLE_API_ENVIRONMENT": "LOCALHOST",
        "http_proxy": proxy,
        "https_proxy": proxy,
        "no_proxy": "",
    }
