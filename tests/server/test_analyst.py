"""The thread and its process: a photo that kills, hangs or fails is one photo."""

import sys
import threading

from page_servers import STUB, running

from exif_jax.server.analyst import Analyst, worker_command
from exif_jax.server.jobs import JobList, Limits


def states(photos):
    return [photo["state"] for photo in photos]


def test_one_bad_photo_stops_nothing(tmp_path):
    with running(tmp_path) as server:
        for data in (b"ok", b"bad", b"crash", b"crash", b"ok"):
            assert server.send(data).status_code == 201
        photos = server.wait()
    assert states(photos) == ["done", "failed", "failed", "failed", "done"]
    assert photos[1]["error"] == "Not an image of a known format. Give a JPEG."
    assert "The others go on." in photos[2]["error"]
    assert not list(tmp_path.glob("*/original"))  # what failed is no longer needed either


def test_a_photo_that_never_ends_is_ended(tmp_path):
    with running(tmp_path, seconds=1.0) as server:
        server.send(b"hang")
        photos = server.wait()
    assert states(photos) == ["failed"]
    assert "longer than 1 seconds" in photos[0]["error"]


def test_photos_are_worked_on_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setenv("STUB_SECONDS", "0.05")
    with running(tmp_path) as server:
        for _ in range(5):
            server.send(b"ok")
        seen = []
        while "waiting" in (now := states(server.photos())):
            seen.append(now.count("working"))
        ahead = [photo["ahead"] for photo in server.wait()]
    assert max(seen) <= 1 and ahead == [0] * 5


def test_a_program_that_cannot_be_started_is_said(tmp_path):
    with running(tmp_path, [str(tmp_path / "nothing")]) as server:
        server.send(b"ok")
        (photo,) = server.wait()
    assert photo["state"] == "failed" and "cannot be started" in photo["error"]


def test_nonsense_for_an_answer_fails_the_photo(tmp_path):
    command = [sys.executable, "-c", "input(); print('{half'); input()"]
    with running(tmp_path, command) as server:
        server.send(b"ok")
        (photo,) = server.wait()
    assert photo["state"] == "failed"


def test_closing_ends_the_process_in_the_middle_of_a_photo(tmp_path):
    jobs = JobList(tmp_path, Limits(1000))
    analyst = Analyst(jobs, STUB)
    job = jobs.add("a")
    (jobs.folder(job) / "original").write_bytes(b"hang")
    jobs.queue(job, 4)
    while job.step != "Comparing its patches":
        pass
    process = analyst._process
    analyst.close()
    assert process.poll() is not None
    assert "analyst" not in {thread.name for thread in threading.enumerate()}


def test_the_command_of_the_worker():
    assert worker_command(None, 5, None)[1:] == [
        "-m", "exif_jax.server.worker", "--max-pixels", "5",
    ]  # fmt: skip
    assert worker_command("m", 5, "d")[-4:] == ["--model", "m", "--remove", "d"]
