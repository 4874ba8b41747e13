"""One photo from one host, politely: the rules of asking, and what an answer means."""

from __future__ import annotations

import asyncio
import dataclasses
import email.utils
import ipaddress
import re
import socket
import time
import urllib.parse

import aiohttp

from exif_jax.io.errors import ExifJaxError

_REDIRECTS = 3
_GONE = (401, 402, 403, 404, 410, 451)
MAGIC = (
    *((b"\xff\xd8\xff", ".jpg"), (b"\x89PNG\r\n\x1a\n", ".png"), (b"II*\0", ".tif")),
    *((b"MM\0*", ".tif"), (b"RIFF", ".webp")),
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_INSIDE = "an address inside the own network; see --private"
_PLACEHOLDER = re.compile(r"(photo_unavailable|unavailable|removed|placeholder)[^/]*$", re.I)


@dataclasses.dataclass(frozen=True)
class FetchSettings:
    """How photos are fetched.

    Attributes:
      agent: who asks: name, version and a contact, as sites' rules want it.
      per_host: requests to one host at a time.
      interval: seconds between two requests to one host, at least.
      attempts: tries of one photo before it counts as failed.
      backoff: seconds before the second try; doubled each time, and shortened by up to half.
      longest_wait: seconds that a host's Retry-After may ask for; asked for more, it is left.
      stall: seconds without a byte after which a connection is given up.
      max_bytes: of one photo.
      min_free: bytes that stay free on the disk.
      licences: words of which a licence must hold one; () takes all.
      private: whether addresses inside the own network may be asked.
    """

    agent: str = "exif-jax-download/0.1 (research; no contact given)"
    per_host: int = 4
    interval: float = 0.1
    attempts: int = 6
    backoff: float = 1.0
    longest_wait: float = 600.0
    stall: float = 30.0
    max_bytes: int = 100 * 2**20
    min_free: int = 2 * 2**30
    licences: tuple[str, ...] = ()
    private: bool = False


class Again(ExifJaxError):
    """This try failed and another may not; `wait` seconds where the host named them."""

    def __init__(self, why: str, wait: float | None = None):
        self.why, self.wait = why, wait
        super().__init__(why)


class Ended(ExifJaxError):
    """No other try will change this outcome."""

    def __init__(self, status: str, why: str):
        self.status, self.why = status, why
        super().__init__(why)


class Host:
    """One host's turn: so many requests at a time, so far apart, none while it asks for rest."""

    def __init__(self, settings: FetchSettings):
        self.slots = asyncio.Semaphore(settings.per_host)
        self.interval = settings.interval
        self.next_time = 0.0

    async def turn(self) -> None:
        """Waits until the next request may go out."""
        now = time.monotonic()
        start = max(now, self.next_time)
        self.next_time = start + self.interval
        if start > now:
            await asyncio.sleep(start - now)

    def rest(self, seconds: float) -> None:
        """No request goes out for so long."""
        self.next_time = max(self.next_time, time.monotonic() + seconds)


async def fetch(
    session: aiohttp.ClientSession, url: str, settings: FetchSettings, host: Host
) -> tuple[bytes, str]:
    """The bytes of a photo and their suffix, like ".jpg".

    Raises:
      Again, Ended: see there.
    """
    first = url
    try:
        for _ in range(1 + _REDIRECTS):
            check_address(url, settings)
            async with session.get(url, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = urllib.parse.urljoin(url, response.headers.get("Location", ""))
                    if _PLACEHOLDER.search(url) and not _PLACEHOLDER.search(first):
                        raise Ended("placeholder", f"led to {url[:80]}")
                    continue
                data = await _body(response, settings, host)
                suffix = next((s for magic, s in MAGIC if data.startswith(magic)), None)
                if suffix is None:
                    raise Ended("no photo", f"begins with {data[:12]!r}")
                if suffix == ".jpg" and b"\xff\xd9" not in data[-4096:]:
                    raise Again("the JPEG is cut short")
                return data, suffix
    except ValueError as e:  # of an address, by urllib, the host's encoding or aiohttp
        raise Ended("refused", "no valid address") from e
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as e:
        raise Again(f"{type(e).__name__}: {e}"[:200]) from e
    raise Ended("refused", "too many redirects")


async def _body(response: aiohttp.ClientResponse, settings: FetchSettings, host: Host) -> bytes:
    if response.status in _GONE:
        raise Ended("gone", f"status {response.status}")
    if response.status == 429 or response.status >= 500:
        wait = _retry_after(response.headers.get("Retry-After"))
        if wait:
            host.rest(min(wait, settings.longest_wait))
        raise Again(f"status {response.status}", wait)
    if response.status != 200:
        raise Ended("refused", f"status {response.status}")
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > settings.max_bytes:
        raise Ended("too large", f"{int(length):,} bytes")
    data = bytearray()
    async for part in response.content.iter_chunked(1 << 16):
        data += part
        if len(data) > settings.max_bytes:
            raise Ended("too large", f"more than {settings.max_bytes:,} bytes")
    return bytes(data)


def host_name(url: str) -> str:
    """The host of an address; "" where there is none."""
    try:
        return urllib.parse.urlsplit(url).hostname or ""
    except ValueError:
        return ""


def check_address(url: str, settings: FetchSettings) -> None:
    """Raises Ended for what is no web address, or an IP address inside the own network.

    Names are `PublicResolver`'s part. ValueError for what breaks the rules of addresses.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Ended("refused", "no web address")
    try:
        inside = not is_public_address(parts.hostname)
    except ValueError:
        return  # a name
    if inside and not settings.private:
        raise Ended("refused", _INSIDE)


def _retry_after(text: str | None) -> float | None:
    """Seconds, from either form of the header (RFC 9110, 10.2.3)."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def is_public_address(text: str) -> bool:
    """Whether an IP address lies outside the own network; NAT64's stand for those within them."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if address in _NAT64:
        address = ipaddress.ip_address(int(address) & 0xFFFFFFFF)
    return address.is_global and not address.is_multicast


class PublicResolver(aiohttp.ThreadedResolver):
    """Names to addresses, of which none may lie inside the own network; raises Ended.

    The connection goes to the addresses that are looked at here: a name that first led outside
    and now leads inside is found out.
    """

    async def resolve(self, host, port=0, family=socket.AF_INET):
        found = await super().resolve(host, port, family)
        if not all(is_public_address(entry["host"]) for entry in found):
            raise Ended("refused", _INSIDE)
        return found
