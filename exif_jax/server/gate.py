"""Who may ask, and what browsers may do with the answers.

A page on this machine is within reach of every site that its browser visits, so each request is
judged before anything else: by the name it was sent to (a site may point its own name here: DNS
rebinding), by the page that sent it (Origin, Sec-Fetch-Site), and by the token where there is one.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import http.cookies
import ipaddress
import secrets
import urllib.parse
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with none, browsers call the origin of a form "null"
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
TOKEN_PATH, STYLE_PATH = "/token", "/page.css"
_MAX_FORM = 4096
_SECONDS_AFTER_WRONG_TOKEN = 0.5

_ASK = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>exif-jax: token</title><link rel="stylesheet" href="/page.css"></head>
<body><main class="ask"><h1>This page asks for a token</h1>
<p>It is the one that exif-serve was started with.</p>
<form method="post" action="/token">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="off" required autofocus>
<button class="primary">Open</button>
</form></main></body></html>
"""


class Gate:
    """ASGI middleware: lets through who may ask, and puts `HEADERS` on every answer."""

    def __init__(self, app: ASGIApp, names: Collection[str], any_address: bool, token: str | None):
        """Wraps an application.

        Args:
            app: the application.
            names: the names that the page may be asked for by, in lower case, without ports.
            any_address: a plain IP address will do as well (no site can make its name one).
            token: asked for where it is not None.
        """
        self._app, self._names, self._any_address = app, frozenset(names), any_address
        self._token = token
        # What the cookie holds says nothing of the token, and ends with the process.
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        request = Request(scope, receive)
        answer = self._judge(request)
        if answer is None and self._token is not None:
            answer = await self._ask_for_token(request, self._token)
        await (answer or self._app)(scope, receive, send_with_headers)

    def _judge(self, request: Request) -> Response | None:
        """The refusal of a request that comes from elsewhere; None of one that may pass."""
        headers = request.headers
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            return _refuse(421, "this page is not asked for by that name")
        # Pages on other ports of this machine are strangers too: the port counts.
        for origin in headers.getlist("origin"):
            if origin.lower() not in (f"http://{hosts[0]}".lower(), f"https://{hosts[0]}".lower()):
                return _refuse(403, "another site's page may not ask")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return _refuse(403, "another site's page may not ask")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urllib.parse.urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if not name or "@" in host:
            return False
        return name in self._names or (self._any_address and _is_address(name))

    async def _ask_for_token(self, request: Request, token: str) -> Response | None:
        """None of a request that brings the token or the cookie that was given for it."""
        path, cookie = request.url.path, f"exif_jax_{request.url.port or 80}"
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _equal(given.strip(), token):
            return None
        if _equal(_cookie(request.headers, cookie), self._session):
            return None
        if path == STYLE_PATH:
            return None
        if path == TOKEN_PATH and request.method == "POST":
            if _equal(await _form_token(request), token):
                answer = RedirectResponse("/", 303)
                answer.set_cookie(cookie, self._session, httponly=True, samesite="strict")
                return answer
            await asyncio.sleep(_SECONDS_AFTER_WRONG_TOKEN)
        elif path == "/" and request.method == "GET":
            return HTMLResponse(_ASK, 401)
        return _refuse(401, "this page asks for its token")


def _refuse(status: int, words: str) -> Response:
    return PlainTextResponse(words, status, {"Connection": "close"})


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _equal(given: str, wanted: str) -> bool:
    """Compares in a time that tells nothing, not even the length."""
    digests = (hashlib.sha256(text.encode("utf-8", "replace")).digest() for text in (given, wanted))
    return hmac.compare_digest(*digests)


def _cookie(headers: Headers, name: str) -> str:
    cookies: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except http.cookies.CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


async def _form_token(request: Request) -> str:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MAX_FORM:
            return ""
    values = urllib.parse.parse_qs(body.decode("utf-8", "replace"))
    return values.get("token", [""])[0]
