"""A web server that misbehaves in the ways of real ones, by the address that is asked for."""

import asyncio
import collections
import io
import threading
import time

import numpy as np
from PIL import Image


def make_jpeg(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    return file.getvalue()


class Server:
    """Serves /KIND/ID on a port of its own thread.

    Attributes:
        asked: ID -> times asked for. served: ID -> times that a whole photo was sent.
        agents: what asked. times: of all requests.
    """

    def __init__(self):
        self.asked, self.served = collections.Counter(), collections.Counter()
        self.agents, self.times = set(), []
        self.most_at_once = self._now = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self):
        self._thread.start()
        make = asyncio.start_server(self._answer, "127.0.0.1", 0, backlog=500)
        self._server = asyncio.run_coroutine_threadsafe(make, self._loop).result()
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _stop(self):
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def url(self, kind: str, number) -> str:
        return f"http://127.0.0.1:{self.port}/{kind}/{number}"

    async def _answer(self, reader, writer):
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            await self._reply(head, writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._now -= 1
            writer.close()

    async def _reply(self, head, writer):
        path = head.split(" ")[1]
        _, kind, number = path.split("/")
        self.agents |= {row for row in head.split("\r\n") if row.startswith("User-Agent")}
        self.times.append(time.monotonic())
        self.asked[number] += 1
        first = self.asked[number] == 1
        body = make_jpeg(int(number)) if number.isdigit() else b""

        def send(status, data=b"", headers="", length=None):
            length = len(data) if length is None else length
            top = f"HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Type: image/jpeg\r\n"
            writer.write(f"{top}{headers}Content-Length: {length}\r\n\r\n".encode() + data)
            if status == 200 and length == len(data):
                self.served[number] += 1

        if kind == "gone":
            send(404 if int(number) % 2 else 410)
        elif kind == "busy" and self.asked[number] <= 2:
            send(429 if first else 503)
        elif kind == "rest" and first:
            send(429, headers="Retry-After: 1\r\n")
        elif kind == "long":
            send(503, headers="Retry-After: 86400\r\n")
        elif kind == "broken":
            send(500)
        elif kind == "moved":
            send(302, headers=f"Location: /ok/{number}\r\n")
            self.asked[number] -= 1
        elif kind == "removed":
            send(302, headers="Location: /images/photo_unavailable.png\r\n")
        elif kind == "loop":
            send(302, headers=f"Location: /loop/{number}\r\n")
        elif kind == "inside":
            send(302, headers="Location: http://169.254.169.254/latest/meta-data\r\n")
        elif kind == "slow" and first:
            writer.write(b"HTTP/1.1 200 x\r\nContent-Length: 900\r\n\r\n" + body[:20])
            await writer.drain()
            self._now -= 1  # the asker gives up long before
            await asyncio.sleep(3)
            self._now += 1
        elif kind == "cut" and first:
            send(200, body[: len(body) // 2], length=len(body))
        elif kind == "short" and first:
            send(200, body[: len(body) // 2])
            self.served[number] -= 1
        elif kind == "endless-picture":
            send(200, body[:-2])
        elif kind == "half":
            send(200, body[: len(body) // 2])
        elif kind == "motion":
            send(200, body + b"\0\0\0\x18ftypmp42" + bytes(range(1, 200)) * 100)
        elif kind == "lying":
            send(200, b"<html>no photo here</html>")
        elif kind == "huge":
            send(200, body, length=10**9)
        elif kind == "endless":
            writer.write(b"HTTP/1.1 200 x\r\nConnection: close\r\n\r\n" + body)
            for _ in range(200):
                writer.write(bytes(1 << 16))
                await writer.drain()
        else:
            send(200, body)
