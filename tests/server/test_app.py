"""What the application answers: the list, files, archives."""

import io
import json
import zipfile

import pytest
from page_servers import running
from stub_worker import FILES


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("app")) as server:
        for name, p_value in (("b%2Fa.jpg", 0.01), ("A.jpg", 0.3), ("<i>.png", 0.04)):
            server.send(json.dumps({"p": p_value}).encode(), name)
        server.send(b"bad", "text.jpg")
        server.wait()
        yield server


def test_the_list(server):
    answer = server.client.get("/api/photos").json()
    assert [p["name"] for p in answer["photos"]] == ["a.jpg", "A.jpg", "<i>.png", "text.jpg"]
    assert [(p["summary"] or {}).get("band") for p in answer["photos"]] == [
        "strong", "no evidence", "weak", None,
    ]  # fmt: skip
    again = server.client.get("/api/photos", params={"version": answer["version"]})
    assert again.status_code == 204
    assert server.client.get("/api/photos?version=nonsense").status_code == 200


def test_files_are_shown_or_saved(server):
    photo = server.photos()[1]
    for name, stored, kind in (
        ("photo.jpg", "photo.jpg", "image/jpeg"),
        ("map.png", "map.png", "image/png"),
        ("mask.png", "mask.png", "image/png"),
        ("overlay.png", "result.overlay.png", "image/png"),
        ("report.html", "result.html", "text/html; charset=utf-8"),
    ):
        answer = server.client.get(f"/photos/{photo['id']}/{name}")
        assert (answer.content, answer.headers["content-type"]) == (FILES[stored], kind)
        assert "content-disposition" not in answer.headers
    saved = server.client.get(f"/photos/{photo['id']}/report.html?download=1")
    assert saved.headers["content-disposition"] == 'attachment; filename="A-2.html"'
    assert server.client.get(f"/photos/{photo['id']}/result.json").json()["file"] == "A.jpg"


def test_of_a_photo_that_failed_there_are_none(server):
    photo = server.photos()[3]
    assert photo["state"] == "failed"
    for path in (f"/photos/{photo['id']}/report.html", f"/photos/{photo['id']}.zip"):
        assert server.client.get(path).status_code == 404


def names(answer):
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        return archive.namelist()


def test_one_archive_holds_all_and_one_a_photo(server):
    endings = [".html", ".json", ".mask.png", ".overlay.png"]
    every = names(server.client.get("/photos.zip"))
    assert every == [stem + end for stem in ("a", "A-2", "_i_") for end in endings]
    photo = server.photos()[1]
    assert names(server.client.get(f"/photos/{photo['id']}.zip")) == ["A-2" + e for e in endings]
    with zipfile.ZipFile(io.BytesIO(server.client.get("/photos.zip").content)) as archive:
        assert archive.read("A-2.mask.png") == FILES["mask.png"]


def test_photos_are_removed_one_or_all(tmp_path):
    with running(tmp_path) as server:
        for _ in range(3):
            server.send(b"ok")
        first = server.wait()[0]["id"]
        assert server.client.delete(f"/api/photos/{first}").status_code == 204
        assert server.client.delete(f"/api/photos/{first}").status_code == 404
        assert len(server.photos()) == len(list(tmp_path.iterdir())) == 2
        assert server.client.delete("/api/photos").status_code == 204
        assert server.photos() == [] and list(tmp_path.iterdir()) == []


def test_files_that_vanished_are_no_error_of_the_server(tmp_path):
    with running(tmp_path) as server:
        server.send(b"ok")
        (photo,) = server.wait()
        for path in (tmp_path / photo["id"]).iterdir():
            path.unlink()
        assert server.client.get(f"/photos/{photo['id']}/report.html").status_code == 404
        assert names(server.client.get("/photos.zip")) == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "TRACE", "OPTIONS", "CONNECT"])
def test_other_methods_do_nothing(server, method):
    before = server.photos()
    assert server.client.request(method, "/api/photos").status_code in (400, 404, 405)
    assert server.photos() == before


def test_it_does_not_speak_websocket(server):
    answer = server.raw(
        b"GET /api/photos HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert b" 101 " not in answer.partition(b"\r\n")[0]
