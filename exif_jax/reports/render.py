"""Pictures of a localisation: the fixed colour scale and the overlay."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

import exif_jax
from exif_jax.forensics.regions import Ring, turned
from exif_jax.reading.walk import SOFTWARE

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
    image: np.ndarray,
    heatmap: np.ndarray,
    title: str,
    subtitle: str,
    orientation: int = 1,
    outline: Sequence[Sequence[Ring]] = (),
) -> Image.Image:
    """The photo beside the photo under its map, with a colour bar on the fixed 0 to 1 scale.

    Args:
        image: uint8 [H, W, 3] as stored.
        heatmap: float [H, W] in [0, 1].
        title, subtitle: one line each; cut to the width.
        orientation: the EXIF orientation; the picture is turned, the analysis was not.
        outline: of the region that is singled out, polygons in pixels of the photo as stored; none
            are drawn of none.

    Returns:
        RGB picture, each panel at most 1200 pixels a side.
    """
    photo = Image.fromarray(np.ascontiguousarray(upright(image, orientation)))
    whole = photo.size
    step = max(1, max(heatmap.shape) // _MAX_SIDE)  # the map is smooth: nothing falls between
    heatmap = upright(heatmap[::step, ::step], orientation)
    heat = Image.fromarray(np.ascontiguousarray(heatmap, np.float32))
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
    seen = turned(outline, orientation, *image.shape[1::-1])
    for left in (gap, 2 * gap + width):
        _draw_outline(canvas, seen, (left, panel_y), width / whole[0], height / whole[1])
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
    words = "how unlike the rest of the photo each place is, from 0 to 1"
    draw.text((2 * gap + width, caption_y), _fit(draw, words, small, width), _INK, small)
    return canvas


def _draw_outline(
    canvas: Image.Image,
    coordinates: Sequence[Sequence[Ring]],
    corner: tuple[int, int],
    across: float,
    down: float,
) -> None:
    """White on black, which is seen on any photo."""
    draw = ImageDraw.Draw(canvas)
    for colour, width in (("black", 5), ("white", 2)):
        for ring in (ring for rings in coordinates for ring in rings):
            points = [(corner[0] + x * across, corner[1] + y * down) for x, y in ring]
            draw.line(points, colour, width, joint="curve")


def _font(size: float):
    return ImageFont.load_default(size)


def _fit(draw: ImageDraw.ImageDraw, text: str, font, width: float) -> str:
    text = "".join(c if c.isprintable() else "?" for c in text)
    if draw.textlength(text, font) <= width:
        return text
    while text and draw.textlength(text + "…", font) > width:
        text = text[:-1]
    return text + "…"


def data_uri(picture: Image.Image, kind: str, **options: Any) -> str:
    """Returns a picture as a "data:" address, coded as "JPEG" or "PNG"."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, optimize=True, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as a PNG file that says what made it, so that it is not taken for a photo."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Software", f"{SOFTWARE} {exif_jax.__version__}")
    buffer = io.BytesIO()
    # A fifth of the time of the default level, a tenth more bytes.
    picture.save(buffer, "PNG", compress_level=1, pnginfo=info)
    return buffer.getvalue()
