"""What a person gets to see of a localisation: the overlay picture, the raw map and the JSON.

Every file is written aside and then put in place, so that it appears whole or not at all.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import datetime
import io
import json
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import exif_jax
from exif_jax.atomic import replacing, write_bytes

if TYPE_CHECKING:
    from exif_jax.localization import Localization, Settings
    from exif_jax.photo import Photo

JSON_VERSION = 1

# Dark blue over magenta and orange to pale yellow: lightness rises evenly, so that the map reads
# the same in grey and to colour-blind eyes.
_ANCHORS = ("#0b0924", "#331067", "#6a1c81", "#a12f7e", "#d8456c", "#f7725c", "#fdae78", "#fcf3bf")
_BACKGROUND = (250, 250, 248)
_INK = (40, 40, 44)
_MAX_SIDE = 1200


def _make_lut() -> np.ndarray:
    anchors = np.array([[int(a[i : i + 2], 16) for i in (1, 3, 5)] for a in _ANCHORS], float)
    at, anchor_at = np.linspace(0, 1, 256), np.linspace(0, 1, len(anchors))
    channels = [np.interp(at, anchor_at, anchors[:, c]) for c in range(3)]
    return np.stack(channels, axis=1).round().astype(np.uint8)


LUT = _make_lut()


def colorize(values: np.ndarray) -> np.ndarray:
    """Values in [0, 1] to uint8 RGB [..., 3] on the fixed scale; what lies outside is clipped."""
    return LUT[np.clip(np.asarray(values) * 255 + 0.5, 0, 255).astype(np.uint8)]


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[H, W, ...] as stored to as seen, by the EXIF orientation 1 to 8 (others: as stored)."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def overlay_image(
    image: np.ndarray, consistency: np.ndarray, title: str, subtitle: str, orientation: int = 1
) -> Image.Image:
    """The photo beside the photo under its map, with a colour bar on the fixed 0 to 1 scale.

    Args:
        image: uint8 [H, W, 3] as stored.
        consistency: float [H, W] in [0, 1].
        title, subtitle: one line each; cut to the width.
        orientation: the EXIF orientation; the picture is turned, the analysis was not.

    Returns:
        RGB picture, each panel at most 1200 pixels a side.
    """
    photo = Image.fromarray(np.ascontiguousarray(upright(image, orientation)))
    step = max(1, max(consistency.shape) // _MAX_SIDE)  # the map is smooth: nothing falls between
    consistency = upright(consistency[::step, ::step], orientation)
    heat = Image.fromarray(np.ascontiguousarray(consistency, np.float32))
    photo.thumbnail((_MAX_SIDE, _MAX_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    if max(photo.size) < 480:  # a tiny photo would leave no room for the words
        scale = 480 / max(photo.size)
        photo = photo.resize([max(1, round(side * scale)) for side in photo.size])
    values = np.asarray(heat.resize(photo.size, Image.Resampling.BILINEAR))
    grey = np.asarray(photo.convert("L"), np.float32)[..., None]
    # The colour's own lightness carries the value, so a strong one may hide less of the photo.
    blended = 0.45 * grey + 0.55 * colorize(values)

    width, height = photo.size
    unit = max(12, min(26, width // 34))  # height of the text, in pixels
    gap, bar, panel_y = unit, unit, 4 * unit
    canvas_width = 2 * width + 3 * gap + bar + 4 * unit
    caption_y = panel_y + height + unit // 2
    canvas = Image.new("RGB", (canvas_width, caption_y + 2 * unit), _BACKGROUND)
    canvas.paste(photo, (gap, panel_y))
    canvas.paste(Image.fromarray(blended.astype(np.uint8)), (2 * gap + width, panel_y))
    bar_x = 3 * gap + 2 * width
    ramp = colorize(np.linspace(1, 0, height))[:, None].repeat(bar, axis=1)
    canvas.paste(Image.fromarray(ramp), (bar_x, panel_y))

    draw = ImageDraw.Draw(canvas)
    large, small = _font(1.3 * unit), _font(0.85 * unit)
    room = canvas_width - 2 * gap
    draw.text((gap, 0.7 * unit), _fit(draw, title, large, room), _INK, large)
    draw.text((gap, 2.4 * unit), _fit(draw, subtitle, small, room), _INK, small)
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = panel_y + (1 - value) * (height - 1)
        draw.line([(bar_x + bar, y), (bar_x + bar + unit // 3, y)], _INK)
        draw.text((bar_x + bar + unit / 2, y), f"{value:.2f}", _INK, small, anchor="lm")
    draw.text((gap, caption_y), "photo", _INK, small)
    words = "inconsistency with the rest of the photo: 0 same camera, 1 unrelated"
    draw.text((2 * gap + width, caption_y), _fit(draw, words, small, width), _INK, small)
    return canvas


def _font(size: float):
    return ImageFont.load_default(size)


def _fit(draw: ImageDraw.ImageDraw, text: str, font, width: float) -> str:
    text = "".join(c if c.isprintable() else "?" for c in text)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"


def printable(text: object) -> str:
    """Text safe for a terminal: control characters and undecodable bytes become '?'."""
    return "".join(c if c.isprintable() else "?" for c in str(text))


def output_names(
    paths: Iterable[pathlib.PurePath], known: Mapping[str, str] | None = None
) -> list[str]:
    """One safe name per photo for its outputs: the file's stem, told apart where two are alike.

    Letters and digits of any script stay; a name never holds a separator, starts with a dot or a
    dash, or exceeds 120 bytes. Names that differ in case only count as alike. `known` holds names
    that paths were given before; they keep them.
    """
    known = known or {}
    names, used = [], {name.casefold() for name in known.values()}
    for path in paths:
        if str(path) in known:
            names.append(known[str(path)])
            continue
        safe = "".join(c if c.isalnum() or c in "-_. ()+@" else "_" for c in path.stem)
        safe = safe.encode("utf-8", "replace")[:120].decode("utf-8", "ignore").rstrip(". ")
        if not safe or safe[0] in ".- ":
            safe = "_" + safe
        name, number = safe, 1
        while name.casefold() in used:
            number += 1
            name = f"{safe}-{number}"
        used.add(name.casefold())
        names.append(name)
    return names


def prepare_folder(out: pathlib.Path) -> str:
    """Makes the folder and tries to write there; why that fails, in words, or ""."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".exif-jax-{os.urandom(4).hex()}.tmp"
        with replacing(probe):
            pass
        probe.unlink()
    except OSError as e:
        return (
            f"{printable(out)}: cannot write to the output folder ({e.strerror}); "
            "choose a folder that you may write to"
        )
    return ""


def json_bytes(report: dict[str, Any]) -> bytes:
    """Strict JSON in UTF-8, indented; a value that is not finite raises ValueError."""
    # Undecodable bytes of a file name reach Python as lone surrogates, which are no UTF-8.
    text = json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False)
    return text.encode("utf-8", "replace") + b"\n"


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)  # a fifth of the time, a tenth more bytes
    return buffer.getvalue()


def make_report(
    photo: Photo, name: str, model_id: str, settings: Settings, found: Localization
) -> dict[str, Any]:
    """The JSON report of one photo, as plain types; see `JSON_VERSION`.

    `p_value` and `band` are null where the model carries no calibration. The date is that of the
    analysis, in UTC.
    """
    height, width = found.consistency.shape
    grid = found.grid
    return {
        "version": JSON_VERSION,
        "tool": f"exif-jax {exif_jax.__version__}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "file": name,
        "sha256": photo.sha256,
        "num_bytes": photo.num_bytes,
        "format": photo.format,
        "model": model_id,
        "settings": dataclasses.asdict(settings)
        | {"patch": grid.patch, "stride": grid.stride, "rows": grid.rows, "columns": grid.columns},
        "size": {"width": width, "height": height},
        "orientation": photo.orientation,
        "score": found.score,
        "p_value": found.p_value,
        "band": found.band,
        "note": "; ".join(filter(None, [found.note, *photo.notes])),
        "exif": dict(photo.exif),
    }


def write_outputs(
    out: pathlib.Path,
    name: str,
    photo: Photo,
    found: Localization,
    facts: dict[str, Any],
    page: bytes | None = None,
) -> None:
    """Writes NAME.overlay.png, NAME.map.npy, NAME.html (of a page) and, last, NAME.json.

    Raises OSError.
    """
    patches = f"{found.grid.rows} x {found.grid.columns} patches of {found.grid.patch} px"
    p_value = (
        "not calibrated" if found.p_value is None else f"{found.band}, p = {found.p_value:.3f}"
    )
    subtitle = f"score {found.score:.3f} ({p_value})   {patches}   model {facts['model']}"
    if found.note:
        subtitle += f"   {found.note}"
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the disk works beside the encoder
        mapped = pool.submit(write_map, out / f"{name}.map.npy", found.consistency)
        picture = overlay_image(
            photo.pixels, found.consistency, facts["file"], subtitle, photo.orientation
        )
        write_bytes(out / f"{name}.overlay.png", png_bytes(picture))
        mapped.result()
    if page is not None:
        write_bytes(out / f"{name}.html", page)
    write_bytes(out / f"{name}.json", json_bytes(facts))


def write_map(path: str | os.PathLike, values: np.ndarray) -> None:
    """Writes a float32 .npy file that appears whole or not at all. Raises OSError."""
    with replacing(path) as file:
        np.save(file, np.asarray(values, np.float32), allow_pickle=False)
