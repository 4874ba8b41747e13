"""The command: what it refuses, where it listens, and that nothing is left when it ends."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
from PIL import Image
from stand_in import spliced, tiny_release

from exif_jax import serve

BYTES = {"Content-Type": "application/octet-stream", "X-File-Name": "a.png"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_release(tmp_path_factory.mktemp("model") / "model.safetensors"))


@pytest.fixture
def start(tmp_path):
    """Starts the command with its temporary files in tmp_path/tmp; ends it with the test."""
    (tmp_path / "tmp").mkdir()
    environment = os.environ | {"TMPDIR": str(tmp_path / "tmp"), "EXIF_JAX_TOKEN": ""}
    started = []

    def go(*words):
        command = [sys.executable, "-m", "exif_jax.serve", "--no-browser", "--port", "0", *words]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, text=True)
        started.append(process)
        line = process.stderr.readline()
        assert line.startswith("exif-jax at http://"), line + process.stderr.read()
        return process, line.split()[2]

    yield go
    for process in started:
        process.kill()
        process.wait()
        process.stderr.close()


def send(address, data):
    answer = httpx.post(address + "api/photos", content=data, headers=BYTES, timeout=60)
    assert answer.status_code == 201
    return answer.json()["id"]


def wait(address):
    while True:
        photos = httpx.get(address + "api/photos", timeout=60).json()["photos"]
        if all(photo["state"] in ("done", "failed") for photo in photos):
            return photos
        time.sleep(0.1)


def png(tmp_path):
    Image.fromarray(spliced()[0]).save(tmp_path / "a.png")
    return (tmp_path / "a.png").read_bytes()


def left(tmp_path):
    return [path.name for path in (tmp_path / "tmp").iterdir() if "exif-jax" in path.name]


@pytest.mark.slow
@pytest.mark.posix
def test_a_photo_is_judged_and_nothing_is_left(start, tmp_path, model):
    process, address = start("--model", model)
    photo = send(address, png(tmp_path))
    (done,) = wait(address)
    assert done["state"] == "done" and done["summary"]["score"] is not None
    report = httpx.get(f"{address}photos/{photo}/report.html")
    assert report.status_code == 200 and b"a.png" in report.content
    (folder,) = left(tmp_path)
    assert not list((tmp_path / "tmp" / folder).glob("*/original"))  # forgotten already
    assert (tmp_path / "tmp" / folder).stat().st_mode & 0o077 == 0
    process.terminate()
    assert process.wait(120) == 128 + signal.SIGTERM
    assert left(tmp_path) == []


@pytest.mark.posix
@pytest.mark.parametrize("name", ["SIGINT", "SIGHUP", "SIGTERM"])
def test_every_signal_ends_it_cleanly(start, tmp_path, name):
    process, address = start()
    send(address, png(tmp_path))
    process.send_signal(getattr(signal, name))
    assert process.wait(120) == (130 if name == "SIGINT" else 128 + signal.SIGTERM)
    assert left(tmp_path) == []
    assert process.stderr.read() == ("stopped: nothing is kept\n" if name == "SIGINT" else "")


@pytest.mark.slow
@pytest.mark.posix
def test_also_when_it_is_killed(start, tmp_path):
    process, address = start()
    send(address, png(tmp_path))
    process.kill()
    process.wait()
    while left(tmp_path):  # the worker sees the end of its input
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.posix
def test_what_is_kept_is_there_the_next_time(start, tmp_path, model):
    keep = tmp_path / "case"
    process, address = start("--model", model, "--keep", str(keep))
    data = png(tmp_path)
    photo = send(address, data)
    before = wait(address)
    process.terminate()
    process.wait()
    assert (keep / photo / "original").read_bytes() == data
    process, address = start("--keep", str(keep))
    assert wait(address) == before
    assert httpx.get(f"{address}photos/{photo}/report.html").status_code == 200
    assert str(keep) in httpx.get(address).text


def ends(*words, capsys):
    """The exit code and the message of a command that does not start."""
    try:
        status = serve.main(list(words))
    except SystemExit as error:
        status = error.code
    return status, capsys.readouterr().err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org"])
def test_other_addresses_ask_for_a_token(host, capsys, monkeypatch):
    monkeypatch.delenv("EXIF_JAX_TOKEN", raising=False)
    status, message = ends("--host", host, capsys=capsys)
    assert status == 2 and "--token" in message and host in message
    status, message = ends("--host", host, "--token", "short", capsys=capsys)
    assert status == 2 and "at least 12" in message


def test_a_port_in_use_is_named(capsys):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        status, message = ends("--port", port, capsys=capsys)
    assert status == 1 and port in message and "--port" in message and message.count("\n") == 1


@pytest.mark.parametrize("words", [["--port", "65536"], ["--port", "x"], ["--max-pixels", "0"]])
def test_wrong_words(words, capsys):
    assert ends(*words, capsys=capsys)[0] == 2


def test_a_folder_that_cannot_be_written_to(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    status, message = ends("--keep", str(tmp_path / "file"), capsys=capsys)
    assert status == 1 and "file" in message and message.count("\n") == 1


def test_a_model_that_cannot_be_read(tmp_path, capsys):
    (tmp_path / "m.safetensors").write_bytes(np.zeros(100).tobytes())
    status, message = ends("--model", str(tmp_path / "m.safetensors"), capsys=capsys)
    assert status == 1 and "m.safetensors" in message and message.count("\n") == 1


def test_from_elsewhere_only_with_the_token(start):
    token = "correct horse battery"
    _, shown = start("--host", "0.0.0.0", "--token", token)
    address = shown.replace("0.0.0.0", "127.0.0.1")
    assert httpx.get(address + "api/photos").status_code == 401
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(address + "api/photos", headers=headers).status_code == 200
    # By an address, which no site can make its name; by a name only if it is ours.
    for name, status in (("192.0.2.7", 200), ("evil.example", 421), (socket.gethostname(), 200)):
        answer = httpx.get(address + "api/photos", headers=headers | {"Host": name})
        assert answer.status_code == status, name


def test_who_can_reach_an_address():
    for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"):
        assert serve.is_loopback(host)
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org", ""):
        assert not serve.is_loopback(host)


def test_the_browser_is_opened_where_there_is_a_screen(monkeypatch):
    opened = []
    monkeypatch.setattr(serve.webbrowser, "open", opened.append)
    monkeypatch.setattr(serve.threading, "Timer", NoDelay)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    serve._open_browser("http://127.0.0.1:1/")
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    serve._open_browser("http://127.0.0.1:1/")
    assert opened == ["http://127.0.0.1:1/"]


class NoDelay:
    """A timer that is over at once."""

    def __init__(self, _seconds, function, words):
        self._call = lambda: function(*words)

    def start(self):
        """Calls what it was to call."""
        self._call()


def test_what_is_promised():
    assert serve._promise("127.0.0.1", None).startswith("Nothing leaves this machine.")
    assert "Nothing leaves" not in serve._promise("0.0.0.0", None)
    assert "kept" in serve._promise("127.0.0.1", pathlib.Path("case"))
