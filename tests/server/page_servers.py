"""A page's server in a thread of the test, over a real socket, with the stub or the real worker."""

import contextlib
import pathlib
import socket
import sys
import threading
import time
from dataclasses import dataclass

import httpx

from exif_jax.serve import make_server
from exif_jax.server.analyst import Analyst
from exif_jax.server.app import create_app
from exif_jax.server.gate import LOOPBACK_NAMES
from exif_jax.server.jobs import JobList, Limits

STUB = [sys.executable, str(pathlib.Path(__file__).with_name("stub_worker.py"))]
BYTES = {"Content-Type": "application/octet-stream"}


@dataclass
class Running:
    """A server that runs: its photos, its port, and a client of it."""

    jobs: JobList
    port: int
    client: httpx.Client

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def send(self, data, name="photo.jpg", **headers):
        """Uploads as the page does; returns the answer."""
        headers = {**BYTES, "X-File-Name": name} | headers
        return self.client.post("/api/photos", content=data, headers=headers)

    def photos(self):
        return self.client.get("/api/photos").json()["photos"]

    def wait(self):
        """The photos once none waits or is worked on."""
        while any(p["state"] not in ("done", "failed") for p in self.photos()):
            time.sleep(0.02)
        return self.photos()

    def raw(self, *pieces, read=True):
        """Sends bytes as they are; returns all that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    connection.sendall(piece)
            answer = b""
            with contextlib.suppress(ConnectionError):
                while read and (piece := connection.recv(65536)):
                    answer += piece
            return answer


@contextlib.contextmanager
def running(root, command=STUB, *, keep=False, token=None, analyst=True, seconds=60.0, **limits):
    """Starts a server; `limits` are those of `Limits`."""
    jobs = JobList(root, Limits(**{"max_bytes": 1 << 20} | limits), keep=keep)
    worker = Analyst(jobs, command, seconds) if analyst else None
    app = create_app(jobs, LOOPBACK_NAMES, token=token, promise="Nothing leaves this machine.")
    listener = socket.create_server(("127.0.0.1", 0))
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    port = listener.getsockname()[1]
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield Running(jobs, port, client)
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
        if worker is not None:
            worker.close()
