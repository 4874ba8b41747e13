"""Answers as `exif_jax.server.worker` does, at once and without a model, as the photo's bytes say.

`crash`, `hang`, `bad` are what they say; other bytes make a result. JSON gives it the p-value `p`
and whatever else it holds.
"""

import io
import json
import os
import pathlib
import sys
import time

from PIL import Image

from exif_jax.server.results import summary_of

PAGE = "<!DOCTYPE html><html lang='en'><title>stub: splice report</title><h1>a stub</h1></html>"


def picture(kind, colour, size=(60, 40)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return buffer.getvalue()


FILES = {
    "photo.jpg": picture("JPEG", (120, 160, 90)),
    "map.png": picture("PNG", (200, 60, 110), (30, 20)),
    "mask.png": picture("PNG", (255, 255, 255)),
    "result.overlay.png": picture("PNG", (90, 40, 120)),
    "result.html": PAGE.encode(),
}


def answer(**words):
    print(json.dumps(words), flush=True)


def main():
    for line in sys.stdin:
        request = json.loads(line)
        photo, folder = pathlib.Path(request["photo"]), pathlib.Path(request["folder"])
        with photo.open("rb") as file:
            start = file.read(200)
        answer(step="Comparing its patches")
        if start.startswith(b"crash"):
            os._exit(3)
        if start.startswith(b"hang"):
            time.sleep(600)
        if start.startswith(b"bad"):
            answer(failed="Not an image of a known format. Give a JPEG.")
            continue
        time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
        p_value, band, more = None, None, {}
        if start.startswith(b"{"):
            more = json.loads(photo.read_bytes())
            p_value = more.pop("p")
            if p_value is not None:
                band = "strong" if p_value < 0.02 else "weak" if p_value < 0.05 else "no evidence"
        for name, data in FILES.items():
            (folder / name).write_bytes(data)
        report = {"file": request["name"], "score": 0.25, "p_value": p_value, "band": band}
        report |= more
        (folder / "result.json").write_text(json.dumps(report))
        answer(done=summary_of(report | {"size": {"width": 60, "height": 40}}))


if __name__ == "__main__":
    main()
