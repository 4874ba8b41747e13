"""Bad sectors among samples that are stored as they are, in BMP and in TIFF without compression.

Such files have no codes that damage could break. But a bad sector of a disk, read as zeros, draws a
black line through the picture, one pixel high, with bright pixels above and below; an erased one of
a card, read as ones, draws a white line. Photos have no such lines; tables in screenshots may have.
Nobody can see other changes of raw samples.
"""

import numpy as np

from exif_jax.reading.refusal import MAY_BE_DAMAGED

_SECTOR = 512  # bytes; the smallest part of a disk or card that goes bad
_EDGE = 16  # levels of 255 that a pixel beside the line differs by, at least
_EDGE_FRACTION = 0.95  # of the pixels above and below a line
_MAX_LINES = 1000  # that are looked at


def check_raw_samples(
    pixels: np.ndarray, pixel_bytes: int, is_top_down: bool = True
) -> tuple[str, ...]:
    """Returns a note where a bad sector stands among raw samples.

    Args:
      pixels: uint8 [H, W, 3].
      pixel_bytes: How many bytes the file spends on a pixel.
      is_top_down: Whether the file begins with the top row.
    """
    in_file_order = pixels if is_top_down else pixels[::-1]
    for level, name in ((0, "black"), (255, "white")):
        row = _first_line(in_file_order, level, -(-_SECTOR // pixel_bytes))
        if row is not None:
            row = row if is_top_down else len(pixels) - 1 - row
            return (f"{MAY_BE_DAMAGED}: a {name} line in row {row:,}, as a bad sector leaves",)
    return ()


def _first_line(pixels: np.ndarray, level: int, min_length: int) -> int | None:
    """The row in which the first line of a level begins that has an edge above and below.

    Lines go from row to row, as the file's bytes do; those of whole rows are bars in the picture.
    """
    width = pixels.shape[1]
    is_level = (pixels == level).all(axis=2).reshape(-1)
    turns = np.flatnonzero(is_level[1:] != is_level[:-1]) + 1
    bounds = np.concatenate([[0], turns, [len(is_level)]])
    starts, ends = bounds[:-1], bounds[1:]
    is_line = is_level[starts] & (ends - starts >= min_length)
    is_line &= (starts % width > 0) | (ends % width > 0)
    is_line &= (starts >= width) & (ends + width <= len(is_level))
    flat = pixels.reshape(-1, 3)
    for start, end in zip(starts[is_line][:_MAX_LINES], ends[is_line][:_MAX_LINES], strict=True):
        length = min(end - start, width)
        above = flat[start - width : start - width + length]
        below = flat[end - length + width : end + width]
        if _differs(above, level) and _differs(below, level):
            return int(start // width)
    return None


def _differs(pixels: np.ndarray, level: int) -> bool:
    """Whether nearly all pixels, uint8 [N, 3], differ from a level by an edge."""
    steps = np.abs(pixels.astype(np.int16) - level).max(axis=1)
    return bool((steps > _EDGE).mean() > _EDGE_FRACTION)
