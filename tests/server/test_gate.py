"""Who may ask: names, origins, the token; and what every answer carries."""

import re

import pytest
from page_servers import running

POST = {"Content-Type": "application/octet-stream"}
TOKEN = "correct horse battery"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running(tmp_path_factory.mktemp("gate")) as server:
        yield server


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1:1", "[::1]:8642", "LOCALHOST:80"])
def test_it_is_asked_for_by_the_names_of_this_machine(server, name):
    # Any port: behind a tunnel it is another.
    assert server.client.get("/", headers={"Host": name}).status_code == 200


@pytest.mark.parametrize(
    "name",
    ["evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "192.168.0.1", "[", "a b"],
)
def test_a_name_that_a_site_pointed_here_is_refused(server, name):
    for method in ("GET", "POST", "DELETE"):
        answer = server.client.request(method, "/api/photos", headers={"Host": name})
        assert answer.status_code == 421 and "photos" not in answer.text


def test_no_name_and_two_names_are_refused(server):
    assert b" 421 " in server.raw(b"GET / HTTP/1.0\r\n\r\n")
    two = b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"
    assert re.search(rb" 4\d\d ", server.raw(two))


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://"]
)
def test_pages_of_other_origins_may_neither_read_nor_write(server, origin):
    for method in ("GET", "POST", "DELETE"):
        headers = POST | {"Origin": origin}
        answer = server.client.request(method, "/api/photos", headers=headers)
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_other_pages_embed_is_refused(server, site):
    for path in ("/", "/api/photos", "/photos.zip"):
        assert server.client.get(path, headers={"Sec-Fetch-Site": site}).status_code == 403


def test_its_own_page_may_ask(server):
    headers = {"Origin": server.address, "Sec-Fetch-Site": "same-origin"}
    assert server.client.get("/api/photos", headers=headers).status_code == 200
    assert server.send(b"x", **headers).status_code == 201


def test_every_answer_has_the_policy_and_is_not_kept(server):
    answers = [
        server.client.get("/"),
        server.client.get("/page.js"),
        server.client.get("/nowhere"),
        server.client.get("/", headers={"Host": "evil.example"}),
        server.client.put("/api/photos"),
        server.client.post("/api/photos", content=b"x"),
    ]
    assert [a.status_code for a in answers] == [200, 200, 404, 421, 405, 415]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        assert "server" not in answer.headers


def test_the_page_brings_nothing_from_elsewhere_and_no_script_of_its_own(server):
    page = server.client.get("/").text
    assert "Nothing leaves this machine." in page
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/page.js" defer>']
    assert not re.search(r"<style|\sstyle=|\son\w+=", page)
    for name in ("/", "/page.js", "/page.css"):
        addresses = re.findall(r"\w+://[^\s\"')]+", server.client.get(name).text)
        assert addresses == []


def test_a_report_gets_no_origin(server):
    server.send(b"x")
    photo = server.wait()[-1]
    answer = server.client.get(f"/photos/{photo['id']}/report.html")
    policy = answer.headers["content-security-policy"]
    assert "sandbox allow-scripts" in policy and "frame-ancestors 'none'" in policy
    assert policy.startswith("default-src 'none'") and "sha256-" in policy
    assert "unsafe" not in policy and "allow-same-origin" not in policy


# --- the token ----------------------------------------------------------------------------------


@pytest.fixture
def guarded(tmp_path):
    with running(tmp_path, token=TOKEN) as server:
        yield server


def test_nothing_is_given_without_the_token(guarded):
    for path in ("/", "/page.js", "/api/photos", "/photos.zip", "/photos/x/report.html", "/token"):
        answer = guarded.client.get(path)
        assert answer.status_code == 401, path
    assert guarded.send(b"x").status_code == 401
    assert guarded.client.delete("/api/photos").status_code == 401
    assert guarded.jobs.snapshot() == []


def test_scripts_bring_the_token_in_a_header(guarded):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.client.get("/api/photos", headers=bearer).status_code == 200
    assert guarded.send(b"x", **bearer).status_code == 201
    for wrong in (TOKEN[:-1], TOKEN + "x", "x", "\u00e9".encode()):
        prefix = b"Bearer " + (wrong if isinstance(wrong, bytes) else wrong.encode())
        assert guarded.client.get("/", headers={"Authorization": prefix}).status_code == 401


def test_people_type_it_once(guarded):
    assert 'type="password"' in guarded.client.get("/").text
    assert guarded.client.post("/token", data={"token": "wrong"}).status_code == 401
    answer = guarded.client.post("/token", data={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie
    assert TOKEN not in cookie and TOKEN.replace(" ", "+") not in cookie
    assert guarded.client.get("/api/photos").status_code == 200  # by the cookie


def test_a_strangers_form_cannot_give_the_token(guarded):
    headers = {"Origin": "http://evil.example"}
    answer = guarded.client.post("/token", data={"token": TOKEN}, headers=headers)
    assert answer.status_code == 403 and "set-cookie" not in answer.headers


def test_a_long_form_is_not_read_to_its_end(guarded):
    answer = guarded.client.post("/token", data={"token": TOKEN, "more": "x" * 100_000})
    assert answer.status_code == 401


def test_a_broken_cookie_opens_nothing(guarded):
    for cookie in ("exif_jax_80", f"exif_jax_{guarded.port}=", "\x01=;;;=", f"a={TOKEN}"):
        answer = guarded.client.get("/api/photos", headers={"Cookie": cookie})
        assert answer.status_code == 401
