"""Zeros among samples that are stored as they are, in BMP and in TIFF without compression.

Such files have no codes that damage could break. But a bad sector of a disk or card that is read as
zeros draws a black line, one pixel high, through a picture that is bright above and below. Photos
have no such lines; tables in screenshots may have. Nobody can see other changes of raw samples.
"""

import numpy as np

from exif_jax.reading.refusal import MAY_BE_DAMAGED

_SECTOR = 512  # bytes; the smallest part of a disk or card that goes bad
_DARK = 16  # of 255; a brighter pixel next to a black one is an edge
_BRIGHT_FRACTION = 0.95  # of the pixels above and below a line
_MAX_LINES = 1000  # that are looked at


def check_raw_samples(
    pixels: np.ndarray, pixel_bytes: int, is_top_down: bool = True
) -> tuple[str, ...]:
    """Returns a note where zeros stand among raw samples as a bad sector leaves them.

    Args:
      pixels: uint8 [H, W, 3].
      pixel_bytes: How many bytes the file spends on a pixel.
      is_top_down: Whether the file begins with the top row.
    """
    in_file_order = pixels if is_top_down else pixels[::-1]
    row = _first_line_of_zeros(in_file_order, -(-_SECTOR // pixel_bytes))
    if row is None:
        return ()
    row = row if is_top_down else len(pixels) - 1 - row
    return (
        f"{MAY_BE_DAMAGED}: zeros stand among its pixels in row {row:,}, as a bad sector leaves",
    )


def _first_line_of_zeros(pixels: np.ndarray, min_length: int) -> int | None:
    """The row in which the first black line begins that is bright above and below.

    Lines go from row to row, as the file's bytes do; those of whole rows are bars in the picture.
    """
    width = pixels.shape[1]
    black = ~pixels.any(axis=2).reshape(-1)
    turns = np.flatnonzero(black[1:] != black[:-1]) + 1
    bounds = np.concatenate([[0], turns, [len(black)]])
    starts, ends = bounds[:-1], bounds[1:]
    is_line = black[starts] & (ends - starts >= min_length)
    is_line &= (starts % width > 0) | (ends % width > 0)
    is_line &= (starts >= width) & (ends + width <= len(black))
    flat = pixels.reshape(-1, 3)
    for start, end in zip(starts[is_line][:_MAX_LINES], ends[is_line][:_MAX_LINES], strict=True):
        length = min(end - start, width)
        above = flat[start - width : start - width + length]
        below = flat[end - length + width : end + width]
        if _is_bright(above) and _is_bright(below):
            return int(start // width)
    return None


def _is_bright(pixels: np.ndarray) -> bool:
    return bool((pixels.max(axis=1) > _DARK).mean() > _BRIGHT_FRACTION)
