"""One photo from one host: what each answer means, who may be asked, and when."""

import asyncio
import contextlib
import dataclasses
import types

import aiohttp
import pytest
from photo_server import make_jpeg

from data_prep.downloading import fetch
from data_prep.downloading.fetch import FetchSettings, FinalOutcome, Host, RetryableError

JPEG = make_jpeg(0)
QUICK = FetchSettings(interval=0, private=True, max_bytes=len(JPEG))
PAGE = "http://photos.example/a/1.jpg"


class Session:
    """Gives prepared answers, one for each request: (status, body, headers) or an error."""

    def __init__(self, *answers):
        self.answers, self.asked = list(answers), []

    @contextlib.asynccontextmanager
    async def get(self, url, allow_redirects):
        assert not allow_redirects  # every address is looked at before it is asked
        self.asked.append(url)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, body, headers = answer

        async def parts(_):
            yield body[:500]
            yield body[500:]

        content = types.SimpleNamespace(iter_chunked=parts)
        yield types.SimpleNamespace(status=status, headers=headers, content=content)


def ask(session, url: str = PAGE, **changes):
    """The photo and its suffix, or what was raised in their place; and the host afterwards."""
    settings = dataclasses.replace(QUICK, **changes)
    host = Host(settings)
    try:
        return asyncio.run(fetch.fetch(session, url, settings, host)), host
    except (RetryableError, FinalOutcome) as outcome:
        return outcome, host


def answer(body: bytes, length: str | None = None, status: int = 200):
    return ask(Session((status, body, {"Content-Length": length} if length else {})))[0]


@pytest.fixture
def clock(monkeypatch):
    """A clock at 100 s that only a sleep moves."""
    clock = types.SimpleNamespace(now=100.0)

    async def sleep(seconds):
        clock.now += seconds

    monkeypatch.setattr(fetch, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(fetch.asyncio, "sleep", sleep)
    return clock


def moved(*places: str) -> list[tuple]:
    return [(302, b"", {"Location": place}) for place in places]


@pytest.mark.parametrize("error", [aiohttp.ClientPayloadError, TimeoutError, ConnectionError])
def test_a_connection_that_fails_is_tried_again(error):
    again, _ = ask(Session(error("why")))
    assert isinstance(again, RetryableError) and again.why == f"{error.__name__}: why"
    assert ask(Session(aiohttp.InvalidURL("x")))[0].why == "no valid address"


def test_the_suffix_follows_the_bytes():
    heads = {".jpg": JPEG, ".png": b"\x89PNG\r\n\x1a\n", ".webp": b"RIFF", ".tif": b"II*\0"}
    for suffix, body in (*heads.items(), (".tif", b"MM\0*")):
        assert ask(Session((200, body, {"Content-Type": "text/html"})))[0] == (body, suffix)


def test_answers_that_end_it():
    for word, statuses in (("gone", (401, 403, 404, 410, 451)), ("refused", (204, 304, 400))):
        for status in statuses:
            ended = answer(b"", status=status)
            assert (ended.status, ended.why) == (word, f"status {status}")
    assert answer(b"").status == answer(b"GIF89a").status == "no photo"


@pytest.mark.parametrize("status", [429, 500, 503])
@pytest.mark.parametrize(("asked", "rest"), [("", 0), ("5", 5), ("86400", 600)])
def test_answers_to_try_again_and_how_long_the_host_rests(clock, status, asked, rest):
    again, host = ask(Session((status, b"", {"Retry-After": asked})), longest_wait=600)
    assert (again.why, again.wait) == (f"status {status}", float(asked) if asked else None)
    assert host.next_time == (clock.now + rest if rest else 0)


def test_a_photo_may_have_the_most_bytes_and_not_one_more():
    for length in (None, "many", str(len(JPEG))):
        assert answer(JPEG, length) == (JPEG, ".jpg")
    for body, length in ((JPEG + b"0", None), (b"", str(len(JPEG) + 1)), (JPEG + b"0", "1")):
        assert answer(body, length).status == "too large"


def test_three_redirects_are_followed_and_a_fourth_is_not():
    steps = moved("2.jpg", "/b/3.jpg", "//other.example/4.jpg")
    session = Session(*steps, (200, JPEG, {}))
    assert ask(session)[0] == (JPEG, ".jpg")
    assert session.asked[2:] == ["http://photos.example/b/3.jpg", "http://other.example/4.jpg"]
    assert ask(Session(*steps, *moved("5.jpg"), (200, JPEG, {})))[0].why == "too many redirects"


def test_a_placeholder_is_known_by_its_name_unless_it_was_asked_for():
    for name in ("photo_unavailable.png", "x/Removed_l.gif", "placeholder"):
        assert ask(Session(*moved(f"/{name}")))[0].status == "placeholder"
    for url, place in ((PAGE, "/removed/1.jpg"), (f"{PAGE}/removed.jpg", "/b/removed.jpg")):
        assert ask(Session(*moved(place), (200, JPEG, {})), url)[0] == (JPEG, ".jpg")


# The last two: NAT64 of 127.0.0.1, multicast.
INSIDE = ("127.0.0.1", "10.1.2.3", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0")
INSIDE += (
    "[::1]",
    "[fe80::1]",
    "[fd00::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "224.0.0.1",
    "u@127.0.0.1:80",
)


@pytest.mark.parametrize("host", INSIDE)
def test_the_own_network_is_not_asked_nor_led_to(host):
    session = Session(*moved(f"//{host}/x"))
    for url in (f"http://{host}/x", "http://8.8.8.8/"):
        assert "inside the own network" in ask(session, url, private=False)[0].why
    assert session.asked == ["http://8.8.8.8/"]


def test_other_addresses_are_refused():
    for url in ("", "x.jpg", "file:///x", "ftp://a/x", "http://", "http:///x"):
        assert ask(Session(), url)[0].why == "no web address"


@pytest.mark.parametrize("host", ["[::1", "["])
def test_a_malformed_address_is_refused_as_is_one_led_to(host):
    session = Session(*moved(f"http://{host}/x"))
    for url in (f"http://{host}/x", "http://8.8.8.8/"):
        assert ask(session, url, private=False)[0].why == "no valid address"
    assert session.asked == ["http://8.8.8.8/"]


@pytest.mark.parametrize("name", ["localhost", "2130706433"])
def test_a_name_that_leads_inside_is_found_out(name):
    """The resolver looks at the addresses that the connection goes to."""

    async def lead(name):
        resolver = fetch.PublicResolver()
        try:
            return await resolver.resolve(name, 80)
        finally:
            await resolver.close()

    with pytest.raises(FinalOutcome, match="inside the own network"):
        asyncio.run(lead(name))


def test_requests_to_a_host_wait_for_their_turn_and_its_rest(clock):
    host = Host(FetchSettings(interval=2))
    for at, rest in ((100, 0), (102, 0), (104, 10), (114, 1), (116, 0)):
        asyncio.run(host.turn())
        assert clock.now == at
        host.rest(rest)
