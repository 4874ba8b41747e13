"""Uploads over real sockets: what lies, stalls, overflows or leaves; and what it leaves behind."""

import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys
import time

import httpx
import pytest
from page_servers import BYTES, running

from exif_jax.server import connections
from exif_jax.server.jobs import ENTRY, UPLOAD

HEAD = b"POST /api/photos HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"


def status(answer):
    return int(re.match(rb"HTTP/1.1 (\d+) ", answer)[1]) if answer else None


def wait_until_nothing_is_left(server):
    """An upload that was given up takes its folder with it; the test's own timeout ends this."""
    while server.jobs.snapshot() or list(server.jobs.root.iterdir()):
        time.sleep(0.02)


@pytest.fixture
def server(tmp_path):
    with running(tmp_path, analyst=False, idle_seconds=0.3) as server:
        yield server


def test_a_photo_arrives_byte_for_byte(server):
    data = os.urandom(300_000)
    sent = server.send(data, "caf%C3%A9%2F..%2Fa.jpg").json()
    assert (sent["name"], sent["num_bytes"], sent["state"]) == ("a.jpg", len(data), "waiting")
    assert (server.jobs.root / sent["id"] / UPLOAD).read_bytes() == data


def test_without_a_length_it_is_counted(server):
    pieces = [b"x" * 1000] * 20
    assert server.send(iter(pieces)).json()["num_bytes"] == 20_000


def test_too_large_is_said_before_a_byte_is_read(server):
    # Only the headers are sent: an answer can have read nothing.
    answer = server.raw(HEAD + b"Content-Length: 1048577\r\n\r\n")
    assert status(answer) == 413 and b"1,048,576" in answer
    assert status(server.raw(HEAD + b"Content-Length: " + b"9" * 19 + b"\r\n\r\n")) == 413
    wait_until_nothing_is_left(server)


def test_one_that_grows_too_large_is_stopped(server):
    chunk = b"%x\r\n%s\r\n" % (1 << 16, b"x" * (1 << 16))
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert status(server.raw(head, *[chunk] * 17)) in (413, None)  # None: reset while it sent
    wait_until_nothing_is_left(server)


def test_at_most_as_much_as_allowed_is_taken(server):
    assert server.send(b"x" * (1 << 20)).status_code == 201


@pytest.mark.parametrize("length", [b"-1", b"1e3", b"0x10", b"", b"ten", b"1\r\nContent-Length: 2"])
def test_lengths_that_are_none_are_refused(server, length):
    answer = server.raw(HEAD + b"Content-Length: " + length + b"\r\n\r\nxx")
    assert status(answer) == 400
    wait_until_nothing_is_left(server)


def test_a_client_that_announces_more_than_it_sends(server):
    answer = server.raw(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 10)
    assert status(answer) == 408
    server.raw(HEAD + b"Content-Length: 1000\r\n\r\n" + b"x" * 10, read=False)  # and leaves
    wait_until_nothing_is_left(server)


def test_a_client_that_sends_more_than_it_announced(server):
    answer = server.raw(HEAD + b"Connection: close\r\nContent-Length: 4\r\n\r\nabcdGET /secret")
    assert status(answer) == 201
    (job,) = server.jobs.snapshot()
    assert (server.jobs.root / job.id / UPLOAD).read_bytes() == b"abcd"


def test_a_client_that_trickles_is_left(server):
    # Never still for long enough, never fast enough.
    def trickle():
        yield HEAD + b"Content-Length: 100000\r\n\r\n"
        for _ in range(60):
            time.sleep(0.05)
            yield b"x"

    answer = server.raw(*trickle())
    assert status(answer) in (408, None) and b"201" not in answer[:20]
    wait_until_nothing_is_left(server)


def test_headers_that_never_end_are_not_waited_for(server, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.2)
    assert server.raw(b"") == b""
    assert server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ") == b""
    # Also behind a request that was whole.
    answer = server.raw(b"GET /api/photos HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HT")
    assert answer.count(b"HTTP/1.1") == 1
    assert server.client.get("/").status_code == 200


def test_headers_are_bounded(server):
    answer = server.raw(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 1_000_000)
    assert status(answer) in (400, None)  # None: reset while it sent
    assert server.client.get("/").status_code == 200


def test_other_kinds_of_body_are_refused(server):
    for kind in ("text/plain", "multipart/form-data; boundary=x", "application/json", ""):
        answer = server.send(b"x", **{"Content-Type": kind})
        assert answer.status_code == 415
    assert server.send(b"").status_code == 400
    wait_until_nothing_is_left(server)


def test_a_full_queue_says_when_to_come_again(tmp_path):
    with running(tmp_path, analyst=False, max_waiting=2, max_photos=3) as server:
        assert [server.send(b"x").status_code for _ in range(3)] == [201, 201, 503]
        assert server.send(b"x").headers["retry-after"] == "1"
        assert len(list(tmp_path.iterdir())) == 2
        server.jobs.finish(server.jobs.take(), error="no")
        assert [server.send(b"x").status_code for _ in range(2)] == [201, 507]


def test_a_disk_without_room_is_said(tmp_path):
    with running(tmp_path, analyst=False) as server:
        server.jobs.root = tmp_path / "gone"
        answer = server.send(b"x")
        assert answer.status_code == 507 and "make room" in answer.json()["error"]
        assert server.photos() == []


NAMES = [
    "../../etc/passwd",
    "..%2F..%2F..%2Ftmp%2Fpwned",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "a%00b.jpg",
    "%FF%FE.jpg",
    "CON",
    ".",
    "..",
    "%2e%2e%2f",
    "x" * 5000,
    "%F0%9F%93%B7.jpg",
    "",
]


def test_no_name_reaches_the_file_system(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    with running(root) as server:
        for name in NAMES:
            assert server.send(b"x", name).status_code == 201
        photos = server.wait()
        for photo in photos:
            assert len(photo["name"]) <= 255 and "/" not in photo["name"]
            for suffix in (f"/{photo['id']}/report.html?download=1", f"/{photo['id']}.zip"):
                header = server.client.get("/photos" + suffix).headers["content-disposition"]
                assert re.fullmatch(r"attachment; filename(=\"|\*=utf-8'')[\w%.@()+-]+\"?", header)
                assert "%2F" not in header.upper() and ".." not in header
    assert {path.name for path in tmp_path.iterdir()} == {"root"}
    assert all(re.fullmatch(r"\d{19}-[0-9a-f]{16}", path.name) for path in root.iterdir())


PATHS = [
    "/photos/../../../../etc/passwd",
    "/photos/..%2f..%2f..%2fetc/passwd",
    "/photos/%2e%2e/%2e%2e/etc/passwd",
    "/photos/ID/../../../etc/passwd",
    "/photos/ID/..%2fentry.json",
    f"/photos/ID/{ENTRY}",
    f"/photos/ID/{UPLOAD}",
    "/photos/ID/result.map.npy",
    "/photos/ID/%00",
    "/photos//report.html",
    "/photos/./report.html",
    "/page.html",
    "/app.py",
    "/../app.py",
    "/static/..%2fapp.py",
]


def test_no_address_leads_to_other_files(tmp_path):
    with running(tmp_path, keep=True) as server:
        server.send(b"x")
        (photo,) = server.wait()
        for path in PATHS:
            words = path.replace("ID", photo["id"]).encode()
            answer = server.raw(
                b"GET " + words + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            assert status(answer) == 404, path
        good = server.client.get(f"/photos/{photo['id']}/report.html")
        assert good.status_code == 200


SERVE = """
import sys, pathlib, page_servers
with page_servers.running(pathlib.Path(sys.argv[1]), analyst=False, max_bytes=1 << 30) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


def peak_memory(process):
    """The most memory that a process ever held, in bytes."""
    text = pathlib.Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", text)[1]) * 1024


def send_stubbornly(address, size):
    """Uploads a photo, again where there was no room; returns the status."""
    while True:
        pieces = iter([b"x" * (1 << 18)] * (size >> 18))
        try:
            answer = httpx.post(address, content=pieces, headers=BYTES, timeout=120)
        except httpx.TransportError:  # refused while it sent
            continue
        if answer.status_code != 503:
            return answer.status_code
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_hundred_photos_at_once_stay_below_the_memory_of_two(tmp_path):
    # In a process of its own, whose peak nobody else raises.
    size, environment = (
        4 << 20,
        os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        address = f"http://127.0.0.1:{int(process.stdout.readline())}/api/photos"
        assert send_stubbornly(address, size) == 201
        before = peak_memory(process)
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: send_stubbornly(address, size), range(100)))
        grown = peak_memory(process) - before
        process.stdin.close()
    assert answers == [201] * 100
    assert len(list(tmp_path.glob(f"*/{UPLOAD}"))) == 101
    assert grown < 2 * size
