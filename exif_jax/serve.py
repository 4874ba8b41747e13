"""The command that shows a page on this machine: drop photos, see where they disagree.

python -m exif_jax.serve
"""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import webbrowser
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from exif_jax.cli import command

with command.imports(__name__, "serve"):
    import uvicorn

    from exif_jax.io.text import printable
    from exif_jax.reading.photo import MAX_BYTES, MAX_PIXELS
    from exif_jax.reports.outputs import prepare_folder
    from exif_jax.server.analyst import Analyst, worker_command
    from exif_jax.server.app import create_app
    from exif_jax.server.connections import PromptProtocol
    from exif_jax.server.gate import LOOPBACK_NAMES
    from exif_jax.server.jobs import JobList, Limits

PORT, TOKEN_VARIABLE = 8642, "EXIF_JAX_TOKEN"
_MIN_TOKEN = 12
_MAX_CONNECTIONS = 100


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = _parser()
    args = parser.parse_args(argv)
    token = args.token or os.environ.get(TOKEN_VARIABLE) or None
    if problem := _token_problem(args.host, token):
        parser.error(problem)
    if args.keep and (problem := prepare_folder(args.keep)):
        return command.fail(problem)
    if args.model and (problem := _model_problem(args.model, args.max_pixels)):
        return command.fail(problem)
    try:
        listener = _listen(args.host, args.port)
    except OSError as e:
        return command.fail(
            f"{printable(args.host)} port {args.port}: {e.strerror or e}; choose another --port"
        )
    with listener, _ended_by_signals():
        try:
            _serve(args, token, listener)
        except KeyboardInterrupt:
            kept = f"the results are in {printable(args.keep)}" if args.keep else "nothing is kept"
            return command.stopped(kept)
    return 0


def _serve(args: argparse.Namespace, token: str | None, listener: socket.socket) -> None:
    """Serves until a signal ends it."""
    with contextlib.ExitStack() as stack:
        root = args.keep or pathlib.Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="exif-jax-serve-"))
        )
        jobs = JobList(root, Limits(MAX_BYTES), keep=args.keep is not None)
        remove = None if args.keep else str(root)
        analyst = Analyst(jobs, worker_command(args.model, args.max_pixels, remove))
        stack.callback(analyst.close)
        names, any_address = _names(args.host)
        app = create_app(
            jobs,
            names,
            any_address=any_address,
            token=token,
            promise=_promise(args.host, args.keep),
        )
        address = _address(args.host, listener)
        print(f"exif-jax at {address}   (Ctrl-C ends it)", file=sys.stderr, flush=True)
        if args.browser:
            _open_browser(address)
        make_server(app).run(sockets=[listener])


def make_server(app) -> uvicorn.Server:
    """An HTTP server that trusts no proxy's headers and says nothing of itself."""
    config = uvicorn.Config(
        app,
        http=PromptProtocol,
        ws="none",
        lifespan="off",
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=16 * 1024,
    )
    return uvicorn.Server(config)


# --- who and where ------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token_problem(host: str, token: str | None) -> str:
    if token is None:
        if is_loopback(host):
            return ""
        return (
            f"--host {printable(host)} can be reached from other machines: give a --token that "
            f"people must know (or set {TOKEN_VARIABLE})"
        )
    if len(token) < _MIN_TOKEN or not token.isprintable():
        return f"a token has at least {_MIN_TOKEN} printable characters"
    return ""


def _names(host: str) -> tuple[frozenset[str], bool]:
    """The names that a browser may ask for the page by, and whether any address will do."""
    if is_loopback(host):
        return LOOPBACK_NAMES | {host.lower()}, False
    # A tunnel, or a name of this machine; by its addresses where it listens on several.
    names = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return LOOPBACK_NAMES | names, True


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(
        "127.0.0.1" if host == "localhost" else host, port, type=socket.SOCK_STREAM
    )[0]
    return socket.create_server(address[:2], family=family)


def _address(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _promise(host: str, keep: pathlib.Path | None) -> str:
    if is_loopback(host):
        words = "Nothing leaves this machine."
    else:
        words = f"Photos go to {socket.gethostname()}, which runs this page, and nowhere else."
    if keep is not None:
        return f"{words} Photos and results are kept there, in {keep}."
    return f"{words} Photos are forgotten once they are analysed, results when the program ends."


def _model_problem(model: str, max_pixels: int) -> str:
    """Why the worker cannot use a model; it is asked, so that this process needs no JAX."""
    tried = subprocess.run(
        worker_command(model, max_pixels, None),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
    )
    lines = tried.stderr.strip().splitlines()
    return "" if not tried.returncode else lines[-1].removeprefix("error: ") if lines else model


def _open_browser(address: str) -> None:
    # On a machine without a screen a browser of the terminal would take this one.
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        return
    threading.Timer(0.5, webbrowser.open, (address,)).start()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Signals that would end the process at once raise SystemExit, so that files are removed."""

    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    # While it serves, uvicorn takes SIGTERM, ends what it has begun and then passes it on. An
    # exception would be lost where it met a request: uvicorn takes all that a request raises.
    handlers: dict[str, Callable[[int, Any], Any]] = {"SIGTERM": end}
    for name in ("SIGHUP", "SIGBREAK"):
        handlers[name] = lambda _number, _frame: signal.raise_signal(signal.SIGTERM)
    numbers = {
        getattr(signal, name): handler
        for name, handler in handlers.items()
        if hasattr(signal, name)
    }
    before = {number: signal.signal(number, handler) for number, handler in numbers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(
        "exif_jax.serve",
        "Shows a page in the browser: drop photos on it, and each gets a verdict, a map and a "
        "report. Everything stays on this machine. Photos are forgotten once they are analysed, "
        "results when the command ends.",
        "examples:\n"
        "  python -m exif_jax.serve\n"
        "  python -m exif_jax.serve --keep case-17 --port 9000\n"
        f"  {TOKEN_VARIABLE}=... python -m exif_jax.serve --host 0.0.0.0 --no-browser\n\n"
        "What is sent is not encrypted: between machines, let a tunnel (ssh -L) or a proxy with "
        "TLS do that.\n"
        "exit codes: 1 it cannot start (the message says why), 2 wrong usage, 130 Ctrl-C",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on (default 127.0.0.1, this machine only); others need --token",
    )
    parser.add_argument(
        "--port", type=_port, default=PORT, metavar="N", help=f"default {PORT}; 0: any free one"
    )
    parser.add_argument(
        "--no-browser", dest="browser", action="store_false", help="do not open the browser"
    )
    parser.add_argument(
        "--token",
        metavar="WORDS",
        help="what a visitor must know; other users of this machine can see it here, so better "
        f"set {TOKEN_VARIABLE}",
    )
    parser.add_argument(
        "--keep",
        type=pathlib.Path,
        metavar="DIR",
        help="keep photos and results in a folder; the page finds them again the next time",
    )
    parser.add_argument("--model", metavar="PATH", help="release file (default: what ships)")
    parser.add_argument(
        "--max-pixels",
        type=_positive,
        default=MAX_PIXELS,
        metavar="N",
        help=f"refuse photos of more pixels (default {MAX_PIXELS:,})",
    )
    return parser


def run() -> None:
    """The console script."""
    command.run(main, results_are_printed=False)


if __name__ == "__main__":
    run()
