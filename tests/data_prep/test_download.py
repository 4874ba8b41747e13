"""The downloader against a server that fails in every way, and under kill -9."""

import asyncio
import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from photo_server import Server, make_jpeg

from data_prep import download
from data_prep.downloading import downloader, fetch
from data_prep.downloading.fetch import FetchSettings
from data_prep.downloading.manifest import MANIFEST, photo_path

QUICK = FetchSettings(
    per_host=32, interval=0, attempts=4, backoff=0.02, stall=0.5, max_bytes=1 << 20, min_free=0,
    longest_wait=5, private=True,
)  # fmt: skip
OUTCOME = {
    **dict.fromkeys(("ok", "busy", "rest", "moved", "slow", "cut", "short"), "done"),
    **{"gone": "gone", "removed": "placeholder", "loop": "refused", "inside": "refused"},
    **{"lying": "no photo", "huge": "too large", "endless": "too large"},
    **{"broken": "failed", "long": "failed"},
}
SHARE = {"ok": 1260, "gone": 100, "busy": 100, "rest": 3, "moved": 100, "removed": 100, "loop": 30}
SHARE |= {"slow": 30, "cut": 100, "short": 60, "lying": 60, "huge": 37, "endless": 10, "broken": 10}


@pytest.fixture
def server():
    with Server() as running:
        yield running


def listed(server, shares: dict[str, int]) -> list[dict]:
    kinds = [kind for kind, count in shares.items() for _ in range(count)]
    order = sorted(range(len(kinds)), key=lambda i: hashlib.md5(str(i).encode()).digest())
    return [{"id": str(i), "url": server.url(kinds[i], i), "licence": "CC BY"} for i in order]


def run(items, out, settings=QUICK):
    return asyncio.run(downloader.download(items, out, settings))


def read_manifest(out: pathlib.Path) -> dict[str, dict]:
    """The last line about each photo; a running process may be writing the last one."""
    path = out / MANIFEST
    rows = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    lines = [json.loads(row) for row in rows if row.endswith(b"\n")]
    return {line["id"]: line for line in lines}


def files(out: pathlib.Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in (out / "photos").rglob("*.*")}


def test_two_thousand_addresses_and_every_outcome(server, tmp_path):
    items = listed(server, SHARE)
    assert len(items) == 2000
    counts = run(items, tmp_path)
    expected = collections.Counter()
    for kind, count in SHARE.items():
        expected[OUTCOME[kind]] += count
    assert counts == expected
    manifest = read_manifest(tmp_path)
    assert manifest.keys() == {item["id"] for item in items}
    for item in items:
        line = manifest[item["id"]]
        assert line["status"] == OUTCOME[item["url"].split("/")[-2]], line
        if line["status"] == "done":
            data = (tmp_path / line["file"]).read_bytes()
            assert data == make_jpeg(int(item["id"]))
            assert line["sha256"] == hashlib.sha256(data).hexdigest()
    assert files(tmp_path) == {line["file"] for line in manifest.values() if "file" in line}
    assert max(server.served.values()) == 1  # nothing was fetched twice
    assert server.most_at_once <= QUICK.per_host
    assert server.agents == {f"User-Agent: {QUICK.agent}"}
    # Again: settled photos are not asked for, failed ones are.
    asked = server.asked.copy()
    assert run(items, tmp_path) == {"before": 1990, "failed": 10}
    again = server.asked - asked
    assert again.keys() == {item["id"] for item in items if "/broken/" in item["url"]}


def test_a_malformed_address_is_refused_and_the_rest_goes_on(server, tmp_path):
    items = listed(server, {"ok": 2})
    items += [
        {"id": f"x{k}", "url": url}
        for k, url in enumerate(
            (
                "http://[::1/x",
                "http://a..b/x",
                f"http://{'x' * 64}.example/",
                "http://localhost:9/x",
            )
        )
    ]
    settings = dataclasses.replace(QUICK, private=False)
    assert run(items[2:], tmp_path, settings) == {"refused": 4}
    assert run(items, tmp_path) == {"done": 2, "before": 4}


def test_a_host_that_asks_for_a_day_is_left(server, tmp_path):
    counts = run(listed(server, {"long": 1}), tmp_path)
    assert counts == {"failed": 1}
    assert server.asked["0"] == 1
    assert "asked to wait 86400 s" in read_manifest(tmp_path)["0"]["why"]


def test_a_video_behind_a_photo_is_no_sign_of_a_cut(server, tmp_path):
    assert run(listed(server, {"motion": 1}), tmp_path) == {"done": 1}
    assert server.asked["0"] == 1
    assert read_manifest(tmp_path)["0"]["num_bytes"] > len(make_jpeg(0))


def test_a_photo_that_comes_twice_without_an_end_marker_is_taken(server, tmp_path):
    assert run(listed(server, {"endless-picture": 1}), tmp_path) == {"done": 1}
    line = read_manifest(tmp_path)["0"]
    assert line["attempts"] == 2 and line["num_bytes"] == len(make_jpeg(0)) - 2
    assert run(listed(server, {"half": 1}), tmp_path / "half") == {"failed": 1}


def test_requests_to_a_host_keep_their_distance(server, tmp_path):
    settings = dataclasses.replace(QUICK, interval=0.05)
    run(listed(server, {"ok": 12}), tmp_path, settings)
    steps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert sum(steps) >= 0.9 * 0.05 * 11
    assert server.most_at_once <= 32


def test_the_own_network_is_not_asked(server, tmp_path):
    settings = dataclasses.replace(QUICK, private=False)
    items = listed(server, {"ok": 1})
    items.append({"id": "file", "url": "file:///etc/passwd"})
    items.append({"id": "none", "url": "http://"})
    assert run(items, tmp_path, settings) == {"refused": 3}
    assert not server.asked


def test_licences(server, tmp_path):
    items = listed(server, {"ok": 2})
    items[0]["licence"] = "Attribution-NonCommercial License"
    settings = dataclasses.replace(QUICK, licences=("CC BY", "Attribution License"))
    assert run(items, tmp_path, settings) == {"licence": 1, "done": 1}


def test_a_full_disk_stops_before_it_is_full(server, tmp_path, monkeypatch):
    free = collections.namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free(5 << 20))
    settings = dataclasses.replace(QUICK, min_free=6 << 20)
    with pytest.raises(download.DownloadError, match="less than 6 MiB are free; make room"):
        run(listed(server, {"ok": 1}), tmp_path, settings)


@pytest.mark.parametrize("name", ["../../x", "a/b", "C:\\x", "ü" * 300, "", "-rf", "x\0y", "CON."])
def test_names_cannot_lead_out_of_the_folder(server, tmp_path, name):
    out = tmp_path / "out"
    assert run([{"id": name, "url": server.url("ok", 3)}], out) == {"done": 1}
    assert run([{"id": name, "url": server.url("ok", 3)}], out) == {"before": 1}
    (path,) = (out / "photos").rglob("*.*")
    assert path.resolve().is_relative_to(out.resolve())
    assert {p.name for p in tmp_path.iterdir()} == {"out"}


def test_a_killed_run_goes_on_and_fetches_nothing_twice(server, tmp_path):
    items = listed(server, {"ok": 400, "gone": 20, "busy": 20})
    listing = tmp_path / "list.jsonl"
    listing.write_text("".join(json.dumps(item) + "\n" for item in items))
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "data_prep.download", "--urls", str(listing), "--private"]
    argv += ["--output", str(out), "--per-host", "4", "--interval", "0.002", "--backoff", "0.05"]
    argv += ["--min-free-megabytes", "0"]
    root = pathlib.Path(__file__).parents[2]
    for stop in (40, 150, 300):
        process = subprocess.Popen(argv, cwd=root, stderr=subprocess.DEVNULL)
        while len(read_manifest(out)) < stop and process.poll() is None:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    # A line without its end, as a kill in the middle of a write would leave it.
    with open(out / MANIFEST, "ab") as file:
        file.write(b'{"id": "7", "sta')
    done = subprocess.run(argv, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(out)
    statuses = collections.Counter(line["status"] for line in manifest.values())
    assert statuses == {"done": 420, "gone": 20}
    # Only what was under way at a kill may have been sent again: 4 at a time, 3 kills.
    twice = [number for number, count in server.served.items() if count > 1]
    assert len(twice) <= 12
    assert not list(out.rglob("*.part*"))
    for line in manifest.values():
        if line["status"] == "done":
            data = (out / line["file"]).read_bytes()
            assert hashlib.sha256(data).hexdigest() == line["sha256"]


def test_a_file_in_place_without_its_line_is_taken(server, tmp_path):
    path = photo_path(tmp_path, "5", ".jpg")
    path.parent.mkdir(parents=True)
    path.write_bytes(make_jpeg(5))
    assert run([{"id": "5", "url": server.url("ok", 5)}], tmp_path) == {"done": 1}
    assert not server.asked
    assert read_manifest(tmp_path)["5"]["num_bytes"] == len(make_jpeg(5))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3), ("0", 0), ("", None), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0)],
)
def test_retry_after(header, seconds):
    assert fetch._retry_after(header) == seconds


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    listing = tmp_path / "list.jsonl"
    argv = ["--urls", str(listing), "--output", str(tmp_path / "out")]
    assert download.main(argv) == 1
    assert "list.jsonl" in capsys.readouterr().err
    listing.write_text('{"id": 1, "url": "http://127.0.0.1:1/x"}\nnot json\n')
    assert download.main([*argv, "--attempts", "1", "--min-free-megabytes", "0"]) == 1
    assert "line 2 is no" in capsys.readouterr().err
