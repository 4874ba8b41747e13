"""Bad sectors among samples that are stored as they are, in BMP and in TIFF without compression.

Such files have no codes that damage could break. But a bad sector of a disk, read as zeros, draws a
black line through the picture, one pixel high, with bright pixels above and below; an erased one of
a card, read as ones, draws a white line. Photos have no such lines; tables in screenshots may have.
Nobody can see other changes of raw samples.
"""

from collections.abc import Iterator

import numpy as np

from exif_jax.reading.refusal import MAY_BE_DAMAGED

_SECTOR = 512  # bytes; the smallest part of a disk or card that goes bad
_EDGE = 16  # levels of 255 that a pixel beside the line differs by, at least
_EDGE_FRACTION = 0.95  # of the pixels above and below a line
_MAX_RUNS = 20_000  # that are looked at, in less than a second


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
    width, num_pixels = pixels.shape[1], pixels.shape[0] * pixels.shape[1]
    flat = pixels.reshape(-1, 3)
    for start, end in _runs(pixels, level, min_length):
        is_bar = start % width == 0 and end % width == 0
        if is_bar or start < width or end + width > num_pixels:
            continue
        length = min(end - start, width)
        above = flat[start - width : start - width + length]
        below = flat[end - length + width : end + width]
        if _differs(above, level) and _differs(below, level):
            return start // width
    return None


def _runs(pixels: np.ndarray, level: int, min_length: int) -> Iterator[tuple[int, int]]:
    """Start and end of the runs of pixels of a level, counted row by row; the first of them."""
    is_level = pixels[..., 0] == level
    for channel in (1, 2):
        is_level &= pixels[..., channel] == level
    is_level = is_level.reshape(-1)
    # A run that is long enough fills one of the blocks of half its length.
    block = max(1, min_length // 2)
    num_blocks = len(is_level) // block
    is_full = is_level[: num_blocks * block].reshape(num_blocks, block).all(axis=1)
    turns = np.flatnonzero(np.diff(is_full, prepend=False, append=False)).reshape(-1, 2)
    for first, stop in turns[:_MAX_RUNS].tolist():
        start, end = first * block, stop * block
        before, behind = is_level[max(0, start - block) : start], is_level[end : end + block]
        start -= _length_of_run(before[::-1])
        end += _length_of_run(behind)
        if end - start >= min_length:
            yield start, end


def _length_of_run(is_level: np.ndarray) -> int:
    """How many of the first values are true."""
    return len(is_level) if is_level.all() else int(is_level.argmin())


def _differs(pixels: np.ndarray, level: int) -> bool:
    """Whether nearly all pixels, uint8 [N, 3], differ from a level by an edge."""
    steps = np.abs(pixels.astype(np.int16) - level).max(axis=1)
    return bool((steps > _EDGE).mean() > _EDGE_FRACTION)
