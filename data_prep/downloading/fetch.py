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
from exif_jax.reading import jpeg_scan
from exif_jax.reading.refusal import Refusal

_REDIRECTS = 3
_GONE = (401, 402, 403, 404, 410, 451)
MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
    (b"RIFF", ".webp"),
)
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_INSIDE = "an address inside the own network; see --private"
_PLACEHOLDER = re.compile(r"(photo_unavailable|unavailable|removed|placeholder)[^/]*$", re.I)


@dataclasses.dataclass(frozen=True)
class FetchSettings:
    """How photos are fetched.

    Attributes:
      agent: Names who asks: program, version and a contact, as sites' rules want it.
      per_host: Most requests to one host at a time.
      interval: Seconds between two requests to one host, at least.
      attempts: Attempts at one photo before it counts as failed.
      backoff: Seconds before the second attempt; doubled each time, and shortened by up to half.
      longest_wait: Seconds that a host's Retry-After may ask for; asked for more, it is left.
      stall: Seconds without a byte after which a connection is given up.
      max_bytes: The most that one photo may have.
      min_free: Bytes that stay free on the disk.
      licences: Words of which a licence must hold one; () takes all.
      private: Whether addresses inside the own network may be asked.
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


class RetryableError(ExifJaxError):
    """An attempt failed and another may not; `wait` in seconds where the host named them."""

    def __init__(self, why: str, wait: float | None = None):
        self.why, self.wait = why, wait
        super().__init__(why)


class CutShortError(RetryableError):
    """A JPEG file without an end came: the transfer was cut short, or its camera wrote none.

    Attributes:
      data: The bytes that came.
    """

    def __init__(self, data: bytes):
        self.data = data
        super().__init__("the JPEG is cut short")


class FinalOutcome(ExifJaxError):
    """The outcome of a photo that no other attempt will change."""

    def __init__(self, status: str, why: str):
        self.status, self.why = status, why
        super().__init__(why)


class Host:
    """Keeps requests to one host few and far apart, and waits as long as the host asks."""

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
        """Lets no request go out for some seconds."""
        self.next_time = max(self.next_time, time.monotonic() + seconds)


async def fetch(
    session: aiohttp.ClientSession, url: str, settings: FetchSettings, host: Host
) -> tuple[bytes, str]:
    """Fetches one photo.

    Returns:
      Its bytes and their suffix, like ".jpg".

    Raises:
      RetryableError: If another attempt may have another outcome.
      FinalOutcome: If none will.
    """
    first = url
    try:
        for _ in range(1 + _REDIRECTS):
            check_address(url, settings)
            async with session.get(url, allow_redirects=False) as response:
                if response.status in (301, 302, 303, 307, 308):
                    url = urllib.parse.urljoin(url, response.headers.get("Location", ""))
                    if _PLACEHOLDER.search(url) and not _PLACEHOLDER.search(first):
                        raise FinalOutcome("placeholder", f"led to {url[:80]}")
                    continue
                data = await _body(response, settings, host)
                suffix = next((s for magic, s in MAGIC if data.startswith(magic)), None)
                if suffix is None:
                    raise FinalOutcome("no photo", f"begins with {data[:12]!r}")
                if suffix == ".jpg" and not _has_end(data):
                    raise CutShortError(data)
                return data, suffix
    except ValueError as e:  # of an address, by urllib, the host's encoding or aiohttp
        raise FinalOutcome("refused", "no valid address") from e
    except (aiohttp.ClientError, TimeoutError, ConnectionError) as e:
        raise RetryableError(f"{type(e).__name__}: {e}"[:200]) from e
    raise FinalOutcome("refused", "too many redirects")


def _has_end(data: bytes) -> bool:
    """Whether a JPEG file's picture has its end marker, whatever follows it."""
    try:
        return jpeg_scan.split(data).end_marker
    except Refusal:  # cut short within its head, or damaged in a way that data prep will name
        return b"\xff\xd9" in data[-4096:]


async def _body(response: aiohttp.ClientResponse, settings: FetchSettings, host: Host) -> bytes:
    if response.status in _GONE:
        raise FinalOutcome("gone", f"status {response.status}")
    if response.status == 429 or response.status >= 500:
        wait = _retry_after(response.headers.get("Retry-After"))
        if wait:
            host.rest(min(wait, settings.longest_wait))
        raise RetryableError(f"status {response.status}", wait)
    if response.status != 200:
        raise FinalOutcome("refused", f"status {response.status}")
    length = response.headers.get("Content-Length", "")
    if length.isdigit() and int(length) > settings.max_bytes:
        raise FinalOutcome("too large", f"{int(length):,} bytes")
    data = bytearray()
    async for part in response.content.iter_chunked(1 << 16):
        data += part
        if len(data) > settings.max_bytes:
            raise FinalOutcome("too large", f"more than {settings.max_bytes:,} bytes")
    return bytes(data)


def host_name(url: str) -> str:
    """The host of an address; "" where there is none."""
    try:
        return urllib.parse.urlsplit(url).hostname or ""
    except ValueError:
        return ""


def check_address(url: str, settings: FetchSettings) -> None:
    """Raises FinalOutcome for what is no web address, or an IP address inside the own network.

    Names are `PublicResolver`'s part. ValueError for what breaks the rules of addresses.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FinalOutcome("refused", "no web address")
    try:
        inside = not is_public_address(parts.hostname)
    except ValueError:
        return  # a name
    if inside and not settings.private:
        raise FinalOutcome("refused", _INSIDE)


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
    """Names to addresses, of which none may lie inside the own network; raises FinalOutcome.

    The connection goes to the addresses that are looked at here: a name that first led outside
    and now leads inside is found out.
    """

    async def resolve(self, host, port=0, family=socket.AF_INET):
        addresses = await super().resolve(host, port, family)
        if not all(is_public_address(entry["host"]) for entry in addresses):
            raise FinalOutcome("refused", _INSIDE)
        return addresses
